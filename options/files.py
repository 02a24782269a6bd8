"""File formats of depth and normals, by extension. `geometry.files.formats` has their readers and writers."""

WRITTEN = (".npz", ".exr", ".png", ".pfm", ".ply", ".glb", ".stl", ".html")
READABLE = (".npz", ".exr", ".png", ".pfm", ".npy", ".tif", ".tiff", ".heic", ".heif")
SURFACES = (".glb", ".ply", ".stl")
"""Extensions that are written, read, and made from depth alone."""

READABLE_WORDS = f"{', '.join(READABLE)}; a .png of `convert` or the node Save Geometry"
"""`READABLE` for help texts: only these PNGs state what their levels mean."""

Y_UP, Z_UP = PLY_UP = ("y", "z")
"""The up axis of a PLY, which the format cannot state."""
