"""The stages of an inference: forward through the network; then derive, refine and resample. A further stage is a call in `finish`.

Resizing and the camera are the family's: `Annotator.estimate` resizes, runs the network, and applies a known field of view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...annotators.family import Progress
from ...annotators.marigold import MarigoldMaterialsAnnotator
from ...annotators.registry import models_of_scenes
from ...geometry.camera import check_fov
from ...geometry.edges.refine import Derive, refine_geometry
from ...geometry.estimate import Estimate
from ...geometry.textures.materials import Materials
from ...options.estimate import check_tiles
from ...utils import images_to_rgb
from .memory_budget import on_device_or_cpu
from .network import Images, LoadedNetwork, batch_shape


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """The options of an inference; sources and stages read them.

    Attributes:
        size: Side in pixels of the frame that the network's input is fitted to (the spec's `resizing`); None = the model's default.
        fov: Degrees that the longer side of the images spans, between 0 and 180 exclusive; 0 = unknown.
        family_options: The family's own (`annotators.marigold.MarigoldOptions`, ...); None = its defaults.
        tiles: Overlapping tiles along the longer side, or "auto"; 0 = none. Also accepted: None, 1 and "off", which mean 0.
        derive: Adds to an estimate what follows from it, such as normals, before the depth is enlarged; None = nothing.
        refine: Whether depth edges and normals are aligned with the images' edges. None = as the model does by default, which is by its own
            network for it where it has one (tiny); False = not even so.
        normals: Whether a model that gives depth and normals shall give the normals of a video too.
        at_network_size: Whether estimates of a video stay at the network's size.
        network_threads: Above 0, the network estimates the next frames of a video in a thread of its own while those before are aligned and
            used, with so many of torch's threads.

    Raises:
        ValueError: A field of view or a number of tiles that is out of range.
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
        if self.fov:
            check_fov(self.fov)


def image_estimates(
    network: LoadedNetwork, images: Images, options: InferenceOptions, progress: Progress | None = None, fetched: int = 0
) -> Iterator[Estimate]:
    """The estimates of images, each independent of the others.

    Args:
        network: The network to run.
        images: The batch; each part is converted to float32 RGB on the device by itself.
        options: The options; `size`, `fov`, `family_options`, `normals` and `refine` are used.
        progress: Called with (work done, work in all), in images or in a family's passes over them.
        fetched: As of `Annotator.estimate`.

    Returns:
        Estimates of one or more images at the network's size, on its device, in order, each computed when it is asked for.
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
    """The one estimate of views of a scene that does not move; they are not divided into batches.

    Raises:
        ValueError: The model estimates each image independently, or there are more views than any machine holds.
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
    """The materials of images, each independent of the others, by a network that predicts such.

    Raises:
        ValueError: The model gives depth or normals, and no materials.
    """
    if not isinstance(annotator := network.annotator, MarigoldMaterialsAnnotator):
        raise ValueError(f"{annotator.spec.id} gives {annotator.spec.gives}, and no materials; choose a model of materials")
    return network.batches("estimate_materials", images, options.size, progress, options=options.family_options)


def finish(estimate: Estimate, options: InferenceOptions, height: int, width: int, resampling: str, rgb: Tensor | None = None) -> Estimate:
    """Brings an estimate at the network's size to the images' height and width, where it was.

    Normals and the like are derived before the depth is enlarged; otherwise the network's pixel grid would show in them.

    Args:
        estimate: Of one or more images.
        options: The options; `derive` and `refine` are used.
        height: Of the images.
        width: Of the images.
        resampling: As `Estimate.resized`.
        rgb: The images (B, 3, H, W) in [0, 1], to refine by; None = nothing is refined.
    """
    if rgb is not None and estimate.depth is not None:
        # derives and resamples on its way: normals follow from the depth before its ramps are removed
        return refine_geometry(estimate, rgb, derive=options.derive, resampling=resampling, squashed=True)
    derived = estimate if options.derive is None else options.derive(estimate)
    # What a caller derives was not checked.
    return derived.resized(height, width, resampling, checked=options.derive is None)


def finished_parts(parts: Iterable[Estimate], images: Images, options: InferenceOptions, resampling: str) -> Iterator[Estimate]:
    """Finishes the estimates of a batch part by part, in order."""
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
