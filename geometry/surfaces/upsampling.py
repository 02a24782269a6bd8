"""Enlarges maps computed at every n-th pixel, along surfaces and not across depth edges.

Source:
    J. Kopf et al., "Joint bilateral upsampling" (2007).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..filters.bands import by_bands

ANOTHER = 0.15
"""The relative difference of inverse depth, from a surface continued straight on, at which another surface begins."""

# The weight of another surface.
_STRAY = 0.02


def middles(length: int, pitch: int, device: torch.device) -> Tensor:
    """Places along an axis of the values that `enlarged_along` takes."""
    return torch.arange(min(pitch // 2, length - 1), length, pitch, device=device)


def enlarged_along(values: Tensor, small: Tensor, large: Tensor, pitch: int, axis: int) -> Tensor:
    """Values at every `pitch`-th pixel of an axis, between them as the surfaces go: of two neighbours, the one of the same surface counts.

    Args:
        values: (B, 1, h, w).
        small: Their inverse depth.
        large: Inverse depth at all pixels of the axis.
        pitch: Distance of the values.
        axis: 2 or 3.
    """
    length, count = large.shape[axis], values.shape[axis]
    start = min(pitch // 2, length - 1)
    place = torch.arange(length, device=values.device)
    low = ((place - start).div(pitch, rounding_mode="floor")).clamp(0, count - 1)
    high = (low + 1).clamp(max=count - 1)
    shape = (1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)
    neighbours = [(index, (place - (start + index * pitch)).to(values).view(shape)) for index in (low, high)]
    share = (neighbours[0][1] / pitch).clamp(0, 1)
    slope = surface_slope(small, axis) / pitch

    def enlarge(*maps: Tensor) -> tuple[Tensor]:
        large, *smalls = maps
        total = weights = None
        for (index, aside), near in zip(neighbours, (1 - share, share), strict=True):
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
    step = inverse.diff(dim=axis)
    before = torch.cat((step.narrow(axis, 0, 1), step), axis)
    after = torch.cat((step, step.narrow(axis, step.shape[axis] - 1, 1)), axis)
    return torch.where(before.abs() < after.abs(), before, after)


def same_surface(found: Tensor, expected: Tensor) -> Tensor:
    """1 where inverse depth is what a surface has there, down to almost 0 where it is another's."""
    return (1 - ((found / expected - 1) / ANOTHER).square()).clamp(min=_STRAY)
