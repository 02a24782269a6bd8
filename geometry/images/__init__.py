"""Renders maps as images and reads such images back as maps."""
