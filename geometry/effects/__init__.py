"""What images become with their depth and normals: light, shadows, lenses, fog, masks."""
