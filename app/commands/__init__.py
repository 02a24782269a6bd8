"""The commands of `depth-normal`, one file each, and the options that they share."""
