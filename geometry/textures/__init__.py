"""Maps of a material, from normals, depth or a photograph: height, curvature, occlusion, what tiles, and fine relief."""
