"""The checks of `depth-normal verify`."""
