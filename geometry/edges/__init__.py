"""Depth edges: found, sharpened, and moved to the edges of the image."""
