"""Aligns, blends and compares maps of the same view."""
