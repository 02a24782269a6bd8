"""Upsamples maps from every n-th pixel along surfaces, not across depth edges.

Source:
    J. Kopf et al., "Joint bilateral upsampling" (2007).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, kept_constants
from ..filters.bands import by_bands

ANOTHER = 0.15
"""Relative difference of inverse depth from the extrapolated surface at which another surface begins."""

# The weight of another surface.
_STRAY = 0.02


def middles(length: int, pitch: int, device: torch.device) -> Tensor:
    """Positions along an axis of the values that `enlarged_along` takes."""
    return torch.arange(min(pitch // 2, length - 1), length, pitch, device=device)


@kept_constants
def _neighbours_of_places(length: int, pitch: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each position along an axis: the indices of both neighbouring values (2, length), distances to them, and the second's weight."""
    start, place = min(pitch // 2, length - 1), torch.arange(length)
    count = len(range(start, length, pitch))
    low = ((place - start).div(pitch, rounding_mode="floor")).clamp(0, count - 1)
    both = torch.stack((low, (low + 1).clamp(max=count - 1)))
    aside = (place - (start + both * pitch)).float()
    return both, aside, (aside[0] / pitch).clamp(0, 1)


def enlarged_along(values: Tensor, small: Tensor, large: Tensor, pitch: int, axis: int) -> Tensor:
    """Interpolates values (B, C, h, w) at every `pitch`-th pixel of an axis (2 or 3), using the neighbours on the same surface.

    `small` is their inverse depth, `large` that of all pixels of the axis.
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
    """1 where inverse depth matches the extrapolated surface, down to almost 0 on another surface."""
    return torch.rsub((found / expected).sub_(1).square_(), 1, alpha=1 / ANOTHER**2).clamp_(min=_STRAY)


Smoothing: TypeAlias = Callable[[Tensor], Tensor]


class Line(NamedTuple):
    """Weights of an odd number of pixels in a line, and their distance in pixels."""

    weights: tuple[int, ...]
    pitch: int = 1


def smoothings(inverse: Tensor, lines: Sequence[Line]) -> list[Smoothing]:
    """Builds separable smoothing filters over pixels of the same surface, weighted as by `same_surface` of inverse depth (B, 1, H, W).

    For each line a function of maps (B, C, H, W), with replicated borders.
    """
    per_other = (inverse * ANOTHER).reciprocal_()  # scales inverse depth to 1 where another surface begins
    means_along = _means_one_by_one if inverse.device.type == "cpu" else _means_at_once
    along, down = (means_along(inverse, per_other, surface_slope(inverse, axis), axis, tuple(lines)) for axis in (3, 2))
    return [lambda maps, first=first, then=then: then(first(maps)) for first, then in zip(along, down, strict=True)]


def _means_one_by_one(inverse: Tensor, per_other: Tensor, slope: Tensor, axis: int, lines: Sequence[Line]) -> list[Smoothing]:
    """Filters along an axis tap by tap, which stays in a CPU's cache."""

    def means(values: Tensor, line: Line) -> Tensor:
        reach = len(line.weights) // 2 * line.pitch
        padding = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
        aside = F.pad(torch.cat((inverse, values), 1), padding, mode="replicate")
        aside = aside.unfold(axis, 2 * reach + 1, 1)[..., :: line.pitch].unbind(-1)
        total, share = torch.zeros_like(values), torch.zeros_like(inverse)
        for some, way, weight in zip(aside, range(reach, -reach - 1, -line.pitch), line.weights, strict=True):
            same = _sameness(torch.add(some[:, :1], slope, alpha=way), per_other).mul_(weight)
            total.addcmul_(same, some[:, 1:])
            share.add_(same)
        return total.div_(share)

    return [partial(means, line=line) for line in lines]


def _means_at_once(inverse: Tensor, per_other: Tensor, slope: Tensor, axis: int, lines: tuple[Line, ...]) -> list[Smoothing]:
    """Filters along an axis in few operations, with the weights of all lines and pixels together: for small maps."""
    places, ways, weights = _places_in_lines(inverse, lines, inverse.shape[axis], axis)

    def taken(values: Tensor, places: Tensor) -> Tensor:
        return values.index_select(axis, places.flatten()).unflatten(axis, places.shape)

    slope, per_other = (each.unsqueeze(axis).unsqueeze(axis) for each in (slope, per_other))
    same = _sameness(torch.addcmul(taken(inverse, places), ways.to(slope), slope), per_other).mul_(weights.to(slope))
    shares = (same / same.sum(axis + 1, keepdim=True)).unbind(axis)
    return [lambda maps, at=at, share=share: (taken(maps, at) * share).sum(axis) for at, share in zip(places, shares, strict=True)]


def _sameness(continued: Tensor, per_other: Tensor) -> Tensor:
    """`same_surface` of inverse depth extrapolated from aside to a pixel, given `per_other` of the pixel."""
    off = torch.addcmul(constant(per_other, -1 / ANOTHER), continued, per_other)
    return torch.addcmul(constant(per_other, 1.0), off, off, value=-1).clamp_(min=_STRAY)


@kept_constants
def _places_in_lines(lines: tuple[Line, ...], length: int, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """For the taps of each line around every position of an axis: positions, offsets back to the centre, and weights.

    (N, K, length), and twice (N, K, 1) for axis 3 or (N, K, 1, 1) for axis 2.
    """
    middle = max(len(line.weights) for line in lines) // 2
    steps = torch.arange(-middle, middle + 1) * torch.tensor([line.pitch for line in lines])[:, None]
    weights = [(0,) * (middle - len(line.weights) // 2) for line in lines]
    weights = [(*none, *line.weights, *none) for none, line in zip(weights, lines, strict=True)]
    places = (steps[..., None] + torch.arange(length)).clamp(0, length - 1)
    ways, shares = (each.float().view(*steps.shape, *[1] * (4 - axis)) for each in (-steps, torch.tensor(weights)))
    return places, ways, shares
