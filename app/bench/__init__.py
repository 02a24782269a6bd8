"""The measurements of `depth-normal bench`."""
