"""Panoramas of the whole sphere: directions of pixels, perspective views, merging of views, normals."""
