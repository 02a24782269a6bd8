"""The version of the pack; nothing is below it."""

__version__ = "0.1.0"
