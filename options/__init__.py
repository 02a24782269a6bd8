"""What a user can set, as data: one dataclass a subject. Widgets, command-line options, checks and help are made from it."""
