"""Enlarges maps computed at every n-th pixel, along surfaces and not across depth edges.

Source:
    J. Kopf et al., "Joint bilateral upsampling" (2007).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, kept_constants
from ..filters.bands import by_bands

ANOTHER = 0.15
"""The relative difference of inverse depth, from a surface continued straight on, at which another surface begins."""

# The weight of another surface.
_STRAY = 0.02


def middles(length: int, pitch: int, device: torch.device) -> Tensor:
    """Places along an axis of the values that `enlarged_along` takes."""
    return torch.arange(min(pitch // 2, length - 1), length, pitch, device=device)


@kept_constants
def _neighbours_of_places(length: int, pitch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each place along an axis: the numbers of both values beside it, (2, length), its distance from them, and the second's share."""
    start, place = min(pitch // 2, length - 1), torch.arange(length)
    count = len(range(start, length, pitch))
    low = ((place - start).div(pitch, rounding_mode="floor")).clamp(0, count - 1)
    both = torch.stack((low, (low + 1).clamp(max=count - 1)))
    aside = (place - (start + both * pitch)).float()
    return both, aside, (aside[0] / pitch).clamp(0, 1)


def enlarged_along(values: Tensor, small: Tensor, large: Tensor, pitch: int, axis: int) -> Tensor:
    """Values at every `pitch`-th pixel of an axis, between them as the surfaces go: of two neighbours, the one of the same surface counts.

    Args:
        values: (B, C, h, w).
        small: Their inverse depth, (B, 1, h, w).
        large: Inverse depth at all pixels of the axis.
        pitch: Distance of the values.
        axis: 2 or 3.
    """
    both, asides, share = _neighbours_of_places(values, large.shape[axis], pitch)
    shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
    share, asides = share.to(values).view(shape), asides.to(values).view(2, *shape)
    slope = surface_slope(small, axis) / pitch

    def enlarge(*maps: Tensor) -> tuple[Tensor]:
        large, *smalls = maps
        total = weights = None
        for index, aside, near in zip(both, asides, (1 - share, share), strict=True):
            value, depth, rise = (each.index_select(axis, index) for each in smalls)
            weight = near * same_surface(torch.addcmul(depth, aside, rise), large)
            total = weight * value if total is None else total.addcmul_(weight, value)
            weights = weight if weights is None else weights + weight
        assert total is not None and weights is not None
        return (total / weights,)

    (enlarged,) = by_bands(enlarge, 0, large, values, small, slope) if axis == 3 else enlarge(large, values, small, slope)
    return enlarged


def surface_slope(inverse: Tensor, axis: int) -> Tensor:
    """The slope of a pixel's own surface along an axis: the smaller of the differences to both neighbours."""
    if inverse.shape[axis] == 1:
        return torch.zeros_like(inverse)
    step = F.pad(inverse.diff(dim=axis), (1, 1, 0, 0) if axis == 3 else (0, 0, 1, 1), mode="replicate")
    size, length = step.abs(), inverse.shape[axis]
    is_before = size.narrow(axis, 0, length) < size.narrow(axis, 1, length)
    return torch.where(is_before, step.narrow(axis, 0, length), step.narrow(axis, 1, length))


def same_surface(found: Tensor, expected: Tensor) -> Tensor:
    """1 where inverse depth is what a surface has there, down to almost 0 where it is another's."""
    return torch.rsub((found / expected).sub_(1).square_(), 1, alpha=1 / ANOTHER**2).clamp_(min=_STRAY)


class Surfaces(NamedTuple):
    """Inverse depth (B, 1, H, W), what it is multiplied by to be 1 where another surface begins, and its `surface_slope` by axis."""

    inverse: Tensor
    per_other: Tensor
    slopes: dict[int, Tensor]

    @classmethod
    def of(cls, inverse: Tensor) -> Surfaces:
        """Those of inverse depth."""
        return cls(inverse, (inverse * ANOTHER).reciprocal_(), {axis: surface_slope(inverse, axis) for axis in (2, 3)})


def means_along(values: Tensor, surfaces: Surfaces, axis: int, weights: tuple[int, ...], pitch: int = 1) -> Tensor:
    """Means along an axis, over pixels of the same surface, weighted as by `same_surface`.

    Args:
        values: (B, C, H, W).
        surfaces: Of the same size.
        axis: 2 or 3.
        weights: Of an odd number of pixels in a line, the middle one itself.
        pitch: How many pixels apart they lie.

    Returns:
        (B, C, H, W); beyond the border values go on as they are there.
    """
    inverse, per_other, slope = surfaces.inverse, surfaces.per_other, surfaces.slopes[axis]
    reach = len(weights) // 2 * pitch
    padding = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
    on_cpu = values.device.type == "cpu"
    maps = (inverse, values) if on_cpu else (inverse, values, constant(values, 1.0).expand_as(inverse))
    aside = F.pad(torch.cat(maps, 1), padding, mode="replicate").unfold(axis, 2 * reach + 1, 1)[..., ::pitch].movedim(-1, 0)
    same_place, one, (ways, shares) = constant(slope, -1 / ANOTHER), constant(slope, 1.0), _asides(inverse, weights, pitch)

    def same_surface_at(depths: Tensor, ways: Tensor) -> Tensor:
        off = torch.addcmul(same_place, torch.addcmul(depths, ways.to(slope), slope), per_other)
        return torch.addcmul(one, off, off, value=-1).clamp_(min=_STRAY)

    if not on_cpu:  # all pixels of a line at once
        same = same_surface_at(aside[:, :, :1], ways).mul_(shares.to(slope))
        sums = (same * aside[:, :, 1:]).sum(0)
        return sums[:, :-1] / sums[:, -1:]
    total, share = torch.zeros_like(values), torch.zeros_like(inverse)
    for some, way, weight in zip(aside, ways, shares, strict=True):
        same = same_surface_at(some[:, :1], way).mul_(weight.to(slope))
        total.addcmul_(same, some[:, 1:])
        share.add_(same)
    return total.div_(share)


@kept_constants
def _asides(weights: tuple[int, ...], pitch: int) -> tuple[Tensor, Tensor]:
    """How far pixels in a line lie from the middle one, counted backwards, and their weights: (K, 1, 1, 1, 1) each."""
    middle = len(weights) // 2
    ways = [(middle - number) * pitch for number in range(len(weights))]
    away, weight = (torch.tensor(each, dtype=torch.float32).view(-1, 1, 1, 1, 1) for each in (ways, weights))
    return away, weight
