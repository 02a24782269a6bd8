"""Options of runs: the device and network, sources and their results, a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .estimate import AUTO, AUTO_RUNTIME, MAX_REFINE_STEPS, REFINE_STEPS, RUNTIME_CHOICES, precision
from .fields import Options, choice, switch, typed, whole
from .values import DEVICE_WORDS

RUNTIME = "What runs the network (docs/runtimes.md); a runtime that fails is replaced by torch"

LOCAL, RAY = ENGINE_CHOICES = ("local", "ray")
"""The engines of `estimate`; the first is the default."""


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
        "Move the edges of depth and normals to the edges of the image (docs/large.md). tiny sharpens depth by default, by a network of "
        "its own, except in `effect` and `texture`; --no-refine switches that off.",
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
        False, "Only images that failed before and may succeed now, of IMAGE or, without it, of all (docs/folders.md)."
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
