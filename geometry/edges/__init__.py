"""Finds depth edges, sharpens them, and moves them to the edges of the image."""
