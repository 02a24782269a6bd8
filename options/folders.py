"""How commands process folders, and run on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .estimate import AUTO
from .fields import Options, choice, switch, typed
from .outputs import ENGINE_CHOICES, RAY


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
