"""Depth and normal maps that are right, from any picture."""
