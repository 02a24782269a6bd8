"""Surfaces: normals from depth, plane fits, noise levels."""
