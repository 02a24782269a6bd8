"""Options of the outputs of images, and file formats by extension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .estimate import normal_coding
from .fields import Options, choice, several, switch, typed
from .map_images import NEAR
from .runs import NetworkOptions
from .views import LAYOUTS, VR_LAYOUTS

TARGAS = (".tga", ".icb", ".vda", ".vst")
"""Extensions of TGA, whose content does not say what it is."""

ANIMATIONS = (".apng", ".gif")
"""Extensions of images that move, whose first frame is read."""

IMAGES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".webp", ".avif"),
    *(".heic", ".heif", ".hif", ".bmp", ".dib", ".tif", ".tiff", *TARGAS, ".dds", ".pbm", ".pgm", ".ppm", ".pnm", *ANIMATIONS),
)
"""Extensions of images, of all that `geometry.files.image_files` reads but Radiance HDR and OpenEXR."""

# `geometry.files.formats` has their readers and writers.
WRITTEN = (".npz", ".exr", ".png", ".pfm", ".ply", ".glb", ".stl", ".html")
READABLE = (".npz", ".exr", ".png", ".pfm", ".npy", ".tif", ".tiff", ".pgm", ".heic", ".heif")
SURFACES = (".glb", ".ply", ".stl")
"""Extensions that are written, read, and made from depth alone."""

READABLE_WORDS = f"{', '.join(READABLE)}; a .png of `convert` or the node Save Geometry"
"""`READABLE` for help texts: only these PNGs state what their levels mean."""

UNITS = {"millimetres": 1000, "kitti": 256}
"""Metric depth in whole numbers, of files that do not state their quantity: how many are a metre."""

Y_UP, Z_UP = PLY_UP = ("y", "z")
"""The up axis of a PLY, which the format cannot state."""

HOLES = "-holes"
"""Suffix of a stereo layout's name for its mask of filled disocclusions."""

STEREO_CHOICES = (*LAYOUTS, *(f"{layout}{HOLES}" for layout in LAYOUTS))
"""Stereo outputs."""

COMPOSITING = "comp"
"""EXR for compositing programs, with its camera."""

DEFAULT_WRITES = ("depth", "normals")
"""The default outputs: two images to look at."""

NPZ, _EXR, *_FORMATS = (extension.removeprefix(".") for extension in WRITTEN if extension != ".png")

WRITE_CHOICES = (*DEFAULT_WRITES, NPZ, _EXR, COMPOSITING, *_FORMATS, *STEREO_CHOICES)
"""Outputs of an image: two images to look at, files of geometry by their extensions, and stereo."""

WITH_NUMBERS = (*DEFAULT_WRITES, NPZ)
"""The default outputs and the raw maps, from which others are made later."""

NUMBERS = ("npz", "exr", "pfm")
"""Outputs with the model's raw values."""

PANORAMA_CHOICES = (
    *("depth", "normals", "npz", "exr", "ply", "glb"),
    *(f"{layout}{suffix}" for suffix in ("", HOLES) for layout in VR_LAYOUTS),
)
"""Outputs of panoramas."""

SHARD_CHOICES = ("parquet", "webdataset")
"""Outputs that exclude all others: shards, with many images in each file."""

NUMBER_CHOICES = ("float32", "float16")
"""Number types in shards."""

SHARD_BYTES = 256 * 10**6
"""The default size of shards."""

_ALL_WRITES = (*WRITE_CHOICES, *SHARD_CHOICES)
_OF_DEPTH_ALONE = frozenset(("depth", "stl", *STEREO_CHOICES))
"""Outputs that need only the model's depth, whatever its near-far ratio."""


def ply_up() -> str | None:
    """A field for the up axis of a PLY; None = not set, which means y."""
    return choice(PLY_UP, "What points up in a ply: y (the default), or z as in Blender.", None)


def assumed_ratio(on_command: str) -> float | None:
    """A field for the near-far ratio of a scene without metric depth, for commands."""
    return typed(
        None,
        "near_far_ratio",
        "How many times farther the far end of the scene is than the near end, above 1.",
        on_command=on_command,
        metavar="N",
        otherwise="3, or 10 where the model marks the sky, corrected by its normals",
    )


@dataclass(frozen=True)
class ConvertOptions(Options):
    """The output of `convert`."""

    as_image: bool = switch(
        False, "A .png to look at and for ControlNet, as `estimate` writes it, in place of one from which the numbers come back."
    )
    near: str = choice(NEAR, "Which grey level is near, with {as_image}.")
    half: bool = switch(False, "An .exr with 16-bit floats: half the size.")
    up: str | None = ply_up()


@dataclass(frozen=True)
class ImagesOptions(NetworkOptions):
    """A model's run on images that may be panoramas, and its outputs."""

    panorama: bool = switch(
        False, "Images are 360° panorama photos (equirectangular, twice as wide as high); depth is the distance in each direction."
    )
    any_aspect: bool = switch(False, "With {panorama}: accept images of any aspect ratio as the whole sphere.")
    write: tuple[str, ...] = several(
        _ALL_WRITES,
        f"What to write, with commas: {', '.join(kind for kind in WRITE_CHOICES if kind not in STEREO_CHOICES)} (npz has the raw numbers, "
        f"{COMPOSITING} is EXR for compositing programs), one of {', '.join(SHARD_CHOICES)} by itself, and for both eyes "
        f"{', '.join(LAYOUTS)} (with {HOLES} behind: the mask of the pixels that were filled in); may be given again.",
        shown=WRITE_CHOICES,
        metavar="KINDS",
        otherwise=",".join(DEFAULT_WRITES),
    )
    also: tuple[str, ...] = several(
        _ALL_WRITES,
        f"Write these besides {' and '.join(DEFAULT_WRITES)}, such as npz,glb; may be given again.",
        shown=WRITE_CHOICES,
        metavar="KINDS",
    )
    up: str | None = ply_up()
    near: str = choice(NEAR, "Which grey level of the depth image is near.")
    coding: str = normal_coding()
    normal_bits: str = choice(
        ("8", "16"), "Bits of each channel of the normal map; the depth image always has 16.", flag="--bits", alias="--normal-bits"
    )
    half: bool = switch(
        False, f"Write exr and {COMPOSITING} with 16-bit floats: half the size (depth and positions of {COMPOSITING} keep 32)."
    )
    near_far_ratio: float | None = assumed_ratio("For normals of depth that is not metric; 10 suits landscapes.")
    numbers: str = choice(NUMBER_CHOICES, "Of depth and normals in shards. float32: bit for bit.")
    shard_size: int = typed(
        SHARD_BYTES, "bytes", "A shard is closed as soon as its maps have this size.", metavar="SIZE", otherwise=f"{SHARD_BYTES // 10**6}MB"
    )

    @property
    def writes(self) -> tuple[str, ...]:
        """The outputs, without duplicates."""
        return tuple(dict.fromkeys((*(self.write or DEFAULT_WRITES), *self.also)))

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        writes = frozenset(self.writes)
        if self.panorama:
            yield ("fov", "tiles", "refine", "near_far_ratio"), "is for photos, and {panorama} is set; leave one of them out"
        else:
            yield ("any_aspect",), "is for panoramas; add {panorama}, or leave it out"
        if "ply" not in writes:
            yield ("up",), "is for a PLY, and none is asked for: add {also} ply, or leave it out"
        if "depth" not in writes:
            yield ("near",), "is for <image>_depth.png, and none is asked for: add depth to {write}"
        if "normals" not in writes:
            yield ("coding", "normal_bits"), "is for <image>_normals.png, and none is asked for: add normals to {write}"
        if not {"exr", COMPOSITING} & writes:
            yield ("half",), f"is for EXR, and none is asked for: add {{also}} exr or {COMPOSITING}, or leave it out"
        if writes <= _OF_DEPTH_ALONE:
            why = f"is for normals and meshes, and {','.join(self.writes)} is neither: write normals too, or leave it out"
            yield ("near_far_ratio",), why
        if not writes & {*SHARD_CHOICES}:
            shards = f"is for shards, and none are asked for: add {{write}} {' or '.join(SHARD_CHOICES)}"
            yield ("numbers", "shard_size"), shards

    @property
    def is_depth_alone(self) -> bool:
        """Whether the field of view cannot affect any output if depth is not metric."""
        return set(self.writes) <= _OF_DEPTH_ALONE - {"vr180", f"vr180{HOLES}"}
