"""What a user can set of a model's run on images."""

MOST_TILES = 64
"""Tiles along the longer side; more would be smaller than any network's input in the largest image."""
