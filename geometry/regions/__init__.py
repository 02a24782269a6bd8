"""Regions of an image: connected pixels, and the sky."""
