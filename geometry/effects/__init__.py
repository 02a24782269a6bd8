"""Image effects from depth and normals: light, shadows, lenses, fog and masks."""
