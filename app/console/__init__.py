"""The command line itself: its parser, its output to a terminal, and its interruption."""
