"""Files of depth and normals, by their extensions. `geometry.files.formats` has what reads and writes each."""

WRITTEN = (".npz", ".exr", ".png", ".pfm", ".ply", ".glb", ".stl", ".html")
READABLE = (".npz", ".exr", ".png", ".pfm", ".npy", ".tif", ".tiff", ".heic", ".heif")
SURFACES = (".glb", ".ply", ".stl")
"""Those that are written, those that are read, and those that are made of depth alone."""

READABLE_WORDS = f"{', '.join(READABLE)}; a .png of `convert` or the node Save Geometry"
"""`READABLE` in help: of images those alone say what their levels are."""

Y_UP, Z_UP = PLY_UP = ("y", "z")
"""What points up in a PLY, which cannot say it."""
