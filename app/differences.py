"""Measures how far two estimates' final images are apart, for example by engine or dtype."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ..geometry.estimate import Estimate
from ..geometry.images.display_defaults import usual_depth_image

_LEVELS = 255


class Apart(NamedTuple):
    """The difference of two estimates.

    Attributes:
        largest: Of all pixels that are valid in both, in 255ths of the image's range; of depth and normals, whichever is more.
        mean: The mean of the same.
        elsewhere: Share of the pixels that are valid in one alone, 0 to 1.
    """

    largest: float
    mean: float
    elsewhere: float


def apart(found: Estimate, true: Estimate) -> Apart:
    """The difference of two estimates of the same images, in the maps that both have."""
    both = found.valid & true.valid
    differences = []
    if found.depth is not None and true.depth is not None:
        image, expected = (usual_depth_image(replace(each, mask=both)) for each in (found, true))
        differences.append((image - expected)[both])
    if found.normals is not None and true.normals is not None:
        differences.append((found.normals - true.normals)[both.expand_as(true.normals)] / 2)
    largest, mean = zip(*map(_of, differences), strict=True)
    return Apart(max(largest), max(mean), (found.valid != true.valid).float().mean().item())


def _of(difference: Tensor) -> tuple[float, float]:
    levels = _LEVELS * difference.abs()
    return (levels.max().item(), levels.mean().item()) if len(levels) else (0.0, 0.0)
