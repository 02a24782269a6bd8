"""How a model runs on images, the outputs of images, runs over folders and on a cluster, and file formats by extension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .estimate import AUTO, AUTO_RUNTIME, DEVICE_CHOICES, MAX_REFINE_STEPS, REFINE_STEPS, RUNTIME_CHOICES, normal_coding, precision
from .fields import Options, choice, several, switch, typed, whole
from .views import LAYOUTS, VR_LAYOUTS

DEVICE_WORDS = f"{', '.join(DEVICE_CHOICES)}, or cuda:N for the GPU of that number, from 0"
"""The accepted values of --device."""

RUNTIME = "What runs the network (docs/runtimes.md); a runtime that fails is replaced by torch"


@dataclass(frozen=True)
class DeviceOptions(Options):
    """The network's device and dtype."""

    device: str = typed(AUTO, "device", f"Where the network runs: {DEVICE_WORDS}. auto: the GPU where there is one.", metavar="NAME")
    dtype: str = precision()


@dataclass(frozen=True)
class NetworkOptions(DeviceOptions):
    """How a model runs on an image."""

    size: int | None = typed(
        None,
        "positive",
        "Side of the network's input in pixels, as its authors count it; less is faster. MoGe-2: 840 is its resolution level 9, 485 "
        "level 0.",
        metavar="N",
        otherwise="theirs",
    )
    tiles: int | str | None = typed(
        None,
        "tiles",
        "More detail in a large image: run on the whole image and on overlapping tiles of it; N along the longer side, or auto (tiles of "
        "about the network's own size, at most 4).",
        metavar="N",
    )
    refine: bool | None = switch(
        None,
        "Move the edges of depth and normals to the edges of the image (docs/large.md); by default tiny makes depth of images so by a "
        "network of its own, but not for `effect` and `texture`; --no-refine gives its plain map.",
    )
    refine_steps: int | None = whole(
        None,
        (0, MAX_REFINE_STEPS),
        "How often MoGe-3 refines its depth; 0: not at all, as MoGe-2.",
        metavar="N",
        otherwise=f"{REFINE_STEPS}",
    )
    fov: float = typed(
        0.0,
        "degrees",
        "Field of view of the image's longer side, where the camera is known. Depth Anything 3 and Metric3D need it for correct metres, "
        "meshes and vr180 for their shape.",
        metavar="DEGREES",
        otherwise="that of the model or file, if any",
    )
    runtime: str = choice(
        RUNTIME_CHOICES,
        f"{RUNTIME}; auto: the fastest with the same maps that `bench --keep` measured here, else torch; fast: also with "
        "slightly other maps.",
        AUTO_RUNTIME,
    )


# `geometry.files.formats` has their readers and writers.
WRITTEN = (".npz", ".exr", ".png", ".pfm", ".ply", ".glb", ".stl", ".html")
READABLE = (".npz", ".exr", ".png", ".pfm", ".npy", ".tif", ".tiff", ".heic", ".heif")
SURFACES = (".glb", ".ply", ".stl")
"""Extensions that are written, read, and made from depth alone."""

READABLE_WORDS = f"{', '.join(READABLE)}; a .png of `convert` or the node Save Geometry"
"""`READABLE` for help texts: only these PNGs state what their levels mean."""

MILLIMETRES = "millimetres"
"""Of files that do not state their quantity: metric depth in millimetres."""

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

LOCAL, RAY = ENGINE_CHOICES = ("local", "ray")
"""The engines of `estimate`; the first is the default."""

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
        otherwise="3, or 30 where the model itself marks the sky",
    )


@dataclass(frozen=True)
class ConvertOptions(Options):
    """The output of `convert`."""

    as_image: bool = switch(
        False, "A .png to look at and for ControlNet, as `estimate` writes it, in place of one from which the numbers come back."
    )
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
    coding: str = normal_coding()
    normal_bits: str = choice(
        ("8", "16"), "Bits of each channel of the normal map; the depth image always has 16.", flag="--bits", alias="--normal-bits"
    )
    half: bool = switch(
        False, f"Write exr and {COMPOSITING} with 16-bit floats: half the size (depth and positions of {COMPOSITING} keep 32)."
    )
    near_far_ratio: float | None = assumed_ratio("For normals of depth that is not metric; 30 suits landscapes.")
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


@dataclass(frozen=True)
class SourcesOptions(Options):
    """The images of a folder, the names of their results, and resuming a run."""

    recursive: bool = switch(False, "Look into folders in folders too, and keep their tree below the folder of the results.")
    keep_extension: bool = switch(
        False, "Name results by the whole name of the image (photo.jpg_depth.png): for folders with a photo.jpg and a photo.png."
    )
    resume: bool = switch(False, "Skip images whose results are there, complete, of the same image, model and options.")


@dataclass(frozen=True)
class MediaOptions(SourcesOptions):
    """The same for images and videos."""

    resume: bool = switch(
        False,
        "Skip images whose results are there, complete, of the same image, model and options; of videos also go on after what a "
        "stopped run has finished.",
    )


@dataclass(frozen=True)
class FolderOptions(SourcesOptions):
    """Retrying and reporting of a run over many images."""

    retry_failed: bool = switch(
        False, "Only images that failed before and may succeed now; of those named, or of all without IMAGE (docs/folders.md)."
    )
    json_lines: bool = switch(False, "Print one JSON object for each image.")


@dataclass(frozen=True)
class RayOptions(Options):
    """The distribution of a run over a cluster.

    None selects: the cluster of RAY_ADDRESS, or a Ray on this machine for this run; as many workers as fit when the run begins, each with
    its own model; one GPU each if the cluster has any and `device` is not "cpu"; a batch size of 8 on a GPU, else 1.
    """

    engine: str = choice(ENGINE_CHOICES, "What does the work. ray: all cores and GPUs of a cluster (docs/scale.md).")
    address: str | None = typed(
        None,
        "text",
        "A running cluster: auto, HOST:PORT or ray://HOST:PORT.",
        metavar="ADDRESS",
        otherwise="RAY_ADDRESS, or a Ray on this machine for this run",
    )
    workers: int | None = typed(None, "positive", "Most workers, each with its own model.", metavar="N", otherwise="what the cluster has")
    gpus_per_worker: float | None = typed(
        None, "gpus", "GPUs of a worker; 0.25 = four share one.", metavar="F", otherwise="1 where the cluster has any"
    )
    batch_size: int | None = typed(None, "positive", "Images that run together.", metavar="N", otherwise="8 on a GPU, else 1")
    device: str = typed(AUTO, "device", "Where the network runs, as of `NetworkOptions`.", flag=None)

    def unused(self) -> Iterator[tuple[Sequence[str], str]]:
        if self.engine != RAY:
            yield ("address", "workers", "gpus_per_worker", "batch_size"), "is for a Ray cluster: add {engine} ray, or leave it out"
