"""Maps as images to look at, and such images read as maps."""
