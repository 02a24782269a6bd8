"""What depth and normals do to a picture: masks and cut-outs, fog, lenses, light."""
