"""The stages between the network's estimate and the caller's: derive, refine, resample. A further stage is a call in `finish`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ...geometry.edges.refine import refine_geometry
from ...geometry.estimate import Estimate
from ...utils import images_to_rgb
from .memory_budget import on_device_or_cpu
from .network import Images, batch_shape
from .options import InferenceOptions


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
    for part in parts:
        rgb = images_to_rgb(images[done : done + part.batch]) if options.refine else None
        done += part.batch

        def finish_on(device: torch.device, part: Estimate = part, rgb: Tensor | None = rgb) -> Estimate:
            return finish(part.to(device), options, height, width, resampling, None if rgb is None else rgb.to(device))

        yield on_device_or_cpu(finish_on, part.device, "the maps are enlarged")
