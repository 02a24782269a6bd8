"""The stages of an inference: the network, then derive, refine and resample. Add a stage as a call in `finish`.

Resizing and the camera belong to the family: `Annotator.estimate` resizes, runs the network and applies a known field of view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...annotators.family import Progress
from ...annotators.registry import models_of_scenes
from ...geometry.camera import check_fov
from ...geometry.edges.refine import Derive, refine_geometry
from ...geometry.estimate import Estimate
from ...geometry.textures.materials import Materials
from ...options.checks import InvalidArgumentError, check_whole, checked_switch, is_number
from ...options.estimate import check_tiles
from ...utils import images_to_rgb
from .memory_budget import on_device_or_cpu
from .network import Images, LoadedNetwork, batch_shape

_MOST_SIZE = 2**31


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """The options of an inference, for all sources and stages.

    Attributes:
        size, fov, derive: As in `Model.estimate`.
        family_options: The family's own (`annotators.marigold.MarigoldOptions`, ...); None = its defaults.
        tiles: Overlapping tiles along the longer side, or "auto"; 0 = none. None, 1 and "off" are accepted and mean 0.
        refine: As in `Model.estimate`.
        normals: As in `Model.estimate_video`.
        at_network_size: Whether estimates of a video stay at the network's size.
        network_threads: As in `Model.estimate_video`.

    Raises:
        ValueError: The size, the field of view or the number of tiles is out of range.
    """

    size: int | None = None
    fov: float = 0.0
    family_options: Any = None
    tiles: int | str | None = 0
    derive: Derive | None = None
    refine: bool | None = None
    normals: bool = True
    at_network_size: bool = False
    network_threads: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "tiles", check_tiles(self.tiles))
        if self.refine is not None:
            object.__setattr__(self, "refine", checked_switch("refine", self.refine))
        if self.size is not None:
            check_whole("size", self.size, 1, _MOST_SIZE)
        if not is_number(self.fov):
            raise InvalidArgumentError("fov", f"is {self.fov!r}; accepted: degrees between 0 and 180, 0 = unknown")
        if self.fov:
            check_fov(self.fov)


def image_estimates(
    network: LoadedNetwork, images: Images, options: InferenceOptions, progress: Progress | None = None, fetched: int = 0
) -> Iterator[Estimate]:
    """Estimates images independently of each other, of one or more at a time, at the network's size, on its device, in order, on demand.

    Args:
        network, images, progress: As in `LoadedNetwork.batches`.
        options: Uses `size`, `fov`, `family_options`, `normals` and `refine`.
        fetched: As in `Annotator.estimate`.
    """
    return network.batches(
        "estimate",
        images,
        options.size,
        progress,
        fov=options.fov,
        options=options.family_options,
        normals=options.normals,
        sharp=options.refine is not False,
        fetched=fetched,
    )


def scene_estimates(network: LoadedNetwork, images: Images, options: InferenceOptions, progress: Progress | None) -> Iterator[Estimate]:
    """Estimates views of one static scene in a single, indivisible batch.

    Raises:
        ValueError: The model estimates each image independently, or there are more views than any machine can process.
        MemoryError: The views do not fit in one batch.
    """
    annotator = network.annotator
    if not annotator.sees_scenes(annotator.spec):
        raise ValueError(
            f"{annotator.spec.id} estimates each image independently; models that take a batch as views of one scene: "
            + ", ".join(models_of_scenes())
        )
    annotator.check_scene(*batch_shape(images), options.size)
    return network.batches("estimate_scene", images, options.size, progress, divisible=False, fov=options.fov)


def material_maps(network: LoadedNetwork, images: Images, options: InferenceOptions, progress: Progress | None) -> Iterator[Materials]:
    """Estimates the materials of images independently of each other; a ValueError for models of depth or normals."""
    if not hasattr(annotator := network.annotator, "estimate_materials"):
        raise ValueError(f"{annotator.spec.id} gives {annotator.spec.gives}, and no materials; choose a model of materials")
    return network.batches("estimate_materials", images, options.size, progress, options=options.family_options)


def finish(estimate: Estimate, options: InferenceOptions, height: int, width: int, resampling: str, rgb: Tensor | None = None) -> Estimate:
    """Brings an estimate from the network's size to image size, on its device.

    Maps are derived before the depth is enlarged: otherwise the network's pixel grid would show in normals.

    Args:
        estimate: Of one or more images.
        options: Uses `derive`.
        height, width: Of the images.
        resampling: As in `Estimate.resized`.
        rgb: The images (B, 3, H, W) in [0, 1], to refine by; None = do not refine.
    """
    if rgb is not None and estimate.depth is not None:
        # also derives and resamples, because normals follow from the depth before its ramps are removed
        return refine_geometry(estimate, rgb, derive=options.derive, resampling=resampling, squashed=True)
    derived = estimate if options.derive is None else options.derive(estimate)
    # Derived maps have not been checked.
    return derived.resized(height, width, resampling, checked=options.derive is None)


def finished_parts(parts: Iterable[Estimate], images: Images, options: InferenceOptions, resampling: str) -> Iterator[Estimate]:
    """Finishes the parts of a batch in order."""
    _, height, width = batch_shape(images)
    done = 0

    def finished(part: Estimate) -> Estimate:
        nonlocal done
        rgb = images_to_rgb(images[done : done + part.batch]) if options.refine else None
        done += part.batch

        def on(device: torch.device) -> Estimate:
            return finish(part.to(device), options, height, width, resampling, None if rgb is None else rgb.to(device))

        return on_device_or_cpu(on, part.device, "the maps are enlarged")

    return map(finished, parts)
