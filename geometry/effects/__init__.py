"""What pictures become with their depth and normals: light, shadows, lenses, fog, masks."""
