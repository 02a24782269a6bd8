"""The command line itself: its parser, what it says on a terminal, and how it is stopped."""
