"""The outputs that can be written and the engines that write them, as named by options and in Python. Imports nothing large."""

from __future__ import annotations

from ..options.stereo import LAYOUTS, VR_LAYOUTS

CODING_CHOICES = ("opengl", "directx", "opencv", "scannet", "controlnet-normalbae", "controlnet-1.0-normal")
"""Those of `geometry.conventions.NormalMapCoding`, which imports torch; a test compares them."""

QUANTITY_CHOICES = ("metric-depth", "relative-depth", "disparity")
"""Those of `geometry.kinds.Quantity`, as options are typed. Also `geometry.images.render.NEAR`:"""

NEAR_CHOICES = ("white", "black")

UP_CHOICES = ("y", "z")
"""Those of `geometry.files.mesh_files.PLY_AXES`."""

HOLES = "-holes"
"""The suffix of a layout's name for the mask of the pixels that were filled in."""

STEREO_CHOICES = (*LAYOUTS, *(f"{layout}{HOLES}" for layout in LAYOUTS))
"""Outputs for both eyes."""

COMPOSITING = "comp"
"""EXR for compositing programs, and its camera."""

WRITE_CHOICES = ("depth", "normals", "npz", "exr", COMPOSITING, "pfm", "ply", "glb", "stl", "html", *STEREO_CHOICES)
"""Outputs of an image: two images to look at, the formats of `geometry.files` by their extensions, and stereo."""

NUMBERS = ("npz", "exr", "pfm")
"""Those of them that hold the model's numbers."""

DEFAULT_WRITES = WRITE_CHOICES[:2]
"""The default outputs."""

PANORAMA_CHOICES = (
    *("depth", "normals", "npz", "exr", "ply", "glb"),
    *(f"{layout}{suffix}" for suffix in ("", HOLES) for layout in VR_LAYOUTS),
)
"""Outputs of panoramas."""

SHARD_CHOICES = ("parquet", "webdataset")
"""Outputs instead of these: shards, with many images in each file."""

NUMBER_CHOICES = ("float32", "float16")
"""Of the numbers in shards."""

SHARD_BYTES = 256 * 10**6
"""The default size of shards."""

ENGINE_CHOICES = ("local", "ray")
"""The engines of `estimate`; the first is the default."""

MOST_PREVIEWED = 100
"""Frames of a video on one sheet, at most."""
