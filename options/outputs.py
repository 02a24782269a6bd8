"""The outputs of images that can be written, and the engines that write them, as named by options and in Python."""

from __future__ import annotations

from .files import WRITTEN
from .stereo import LAYOUTS, VR_LAYOUTS

HOLES = "-holes"
"""The suffix of a layout's name for the mask of the pixels that were filled in."""

STEREO_CHOICES = (*LAYOUTS, *(f"{layout}{HOLES}" for layout in LAYOUTS))
"""Outputs for both eyes."""

COMPOSITING = "comp"
"""EXR for compositing programs, and its camera."""

DEFAULT_WRITES = ("depth", "normals")
"""The default outputs: two images to look at."""

_NPZ, _EXR, *_FORMATS = (extension.removeprefix(".") for extension in WRITTEN if extension != ".png")

WRITE_CHOICES = (*DEFAULT_WRITES, _NPZ, _EXR, COMPOSITING, *_FORMATS, *STEREO_CHOICES)
"""Outputs of an image: two images to look at, files of geometry by their extensions, and stereo."""

NUMBERS = ("npz", "exr", "pfm")
"""Those of them that hold the model's numbers."""

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
