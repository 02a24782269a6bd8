"""The subcommands of `depth-normal`, one file each, and their shared options."""
