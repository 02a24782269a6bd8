"""Finds depth edges, sharpens them, moves them to the edges of the image, and mattes objects at them."""
