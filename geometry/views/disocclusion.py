"""Fills disoccluded pixels from the background beside them.

The farther side of a hole is the background. It is continued into the hole as its own mirror image, so its grain goes on, and nothing of
the thing in front is smeared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..edges.depth_edges import EDGE, edge_radius


class _Side(NamedTuple):
    """For each pixel the nearest visible one on one side of it, along one axis; all (B, 1, H, W).

    Attributes:
        distance: In pixels; larger than the image where nothing is visible on that side.
        inverse: Its inverse depth.
        source: The pixel whose colour continues the surface there: its row times the width plus its column.
    """

    distance: Tensor
    inverse: Tensor
    source: Tensor


def fill_uncovered(colour: Tensor, inverse: Tensor, sideways: bool = False) -> Tensor:
    """Fills the pixels where no surface is visible.

    Args:
        colour: (B, C, H, W).
        inverse: (B, 1, H, W) inverse depth; 0 where no surface is visible.
        sideways: The camera moved along the rows only, so what it uncovered is continued along the rows only.

    Returns:
        (B, C, H, W), `colour` where a surface is visible. An image without any stays as it is.
    """
    best, *others = (_side(inverse, axis, backwards) for axis in ((-1,) if sideways else (-1, -2)) for backwards in (False, True))
    for side in others:
        farther, alike = side.inverse * EDGE < best.inverse, side.inverse < best.inverse * EDGE
        chosen = farther | (alike & (side.distance < best.distance))
        best = _Side(*(torch.where(chosen, new, old) for new, old in zip(side, best, strict=True)))
    filled = colour.flatten(2).gather(2, best.source.flatten(2).long().expand(-1, colour.shape[1], -1)).view_as(colour)
    return torch.where(inverse > 0, colour, _means_of_holes(filled, inverse <= 0, max(1, edge_radius(*inverse.shape[-2:]) // 2)))


def _means_of_holes(colour: Tensor, hole: Tensor, radius: int) -> Tensor:
    """Means over the pixels of holes in a square around each: rows that were continued one by one do not fit to a pixel."""
    sums = torch.cat((colour * hole, hole.to(colour)), 1)
    for axis in (-1, -2):
        padding = (radius + 1, radius) if axis == -1 else (0, 0, radius + 1, radius)
        total = F.pad(sums, padding).cumsum(axis)
        length = total.shape[axis] - 2 * radius - 1
        sums = total.narrow(axis, 2 * radius + 1, length) - total.narrow(axis, 0, length)
    return sums[:, :-1] / sums[:, -1:].round().clamp(min=1)


def _side(inverse: Tensor, axis: int, backwards: bool) -> _Side:
    """The nearest visible pixel beside each one, towards the end of the axis, or towards its start."""
    values = inverse if backwards else inverse.flip(axis)
    length = values.shape[axis]
    shape = [1, 1, 1, 1]
    shape[axis] = length
    place = torch.arange(length, device=values.device, dtype=torch.int32).view(shape)
    # Seen from the pixel the axis runs towards 0.
    last_surface = torch.where(values > 0, place, -1)
    found = last_surface.cummax(axis).values
    at = found.clamp(min=0).long()
    beside = values.gather(axis, at)
    # A surface reaches as far as nothing nearer, and no hole, comes between.
    farther_on = torch.cat((torch.zeros_like(values.narrow(axis, 0, 1)), values.narrow(axis, 0, length - 1)), axis)
    ends = (values > 0) & ((farther_on == 0) | (farther_on > values * EDGE))
    start = torch.where(ends, place, -1).cummax(axis).values.clamp(min=0).gather(axis, at)
    run = (found - start + 1).clamp(min=1)
    step = (place - found - 1) % (2 * run)
    step = torch.where(step < run, step, 2 * run - 1 - step)
    source = (found - step).clamp(0, length - 1)
    nothing = found < 0
    distance = torch.where(nothing, 4 * length, place - found)
    beside = torch.where(nothing, torch.inf, beside)
    if not backwards:
        distance, beside, source = distance.flip(axis), beside.flip(axis), (length - 1 - source).flip(axis)
    width = inverse.shape[-1]
    if axis == -1:
        source = source + torch.arange(inverse.shape[-2], device=source.device, dtype=torch.int32).view(-1, 1) * width
    else:
        source = source * width + torch.arange(width, device=source.device, dtype=torch.int32)
    return _Side(distance, beside, source)
