"""Maps of a material from normals, depth or a photograph: height, curvature, occlusion, tiling and detail."""
