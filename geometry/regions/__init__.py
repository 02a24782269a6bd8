"""Regions of an image: the sky, objects and connected pixels."""
