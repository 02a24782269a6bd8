"""Fills disoccluded pixels from the background beside them.

The farther side of a hole is the background. It is continued into the hole as its own mirror image, so its grain goes on, and nothing of
the thing in front is smeared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..edges.depth_edges import EDGE, edge_radius
from ..edges.guided_filter import box_sums


class _Side(NamedTuple):
    """For each place the nearest visible pixel on one side of it, along one axis; all (N,).

    Attributes:
        distance: In pixels; larger than the image where nothing is visible on that side.
        inverse: Its inverse depth.
        source: The pixel whose colour continues the surface there, as the places are counted.
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
        (B, C, H, W), `colour` where a surface is visible. Colours of an image without any have no meaning.
    """
    hole = inverse <= 0
    # A GPU would have to be waited for to know how many holes there are. It fills everywhere.
    places = hole.flatten().nonzero()[:, 0] if hole.device.type == "cpu" else torch.arange(hole.numel(), device=hole.device)
    best, *others = (side for upright in ((False,) if sideways else (False, True)) for side in _sides(inverse, places, upright))
    for side in others:
        farther, alike = side.inverse * EDGE < best.inverse, side.inverse < best.inverse * EDGE
        chosen = farther | (alike & (side.distance < best.distance))
        best = _Side(*(torch.where(chosen, new, old) for new, old in zip(side, best, strict=True)))
    pixels = colour.transpose(0, 1).flatten(1)
    means = _means(pixels.index_select(1, best.source), hole, places, max(1, edge_radius(*inverse.shape[-2:]) // 2))
    filled = pixels.index_copy(1, places, torch.where(hole.flatten()[places], means, pixels.index_select(1, places)))
    return filled.unflatten(1, inverse[:, 0].shape).transpose(0, 1).contiguous()


def _means(continued: Tensor, hole: Tensor, places: Tensor, radius: int) -> Tensor:
    """Means (C, N) over the holes in a square around each place: rows that were continued one by one do not fit to a pixel."""
    channels = len(continued)
    holes = hole.flatten()[places]
    sums = hole.new_zeros((channels + 1, hole.numel()), dtype=continued.dtype)
    sums[:channels].index_copy_(1, places, continued * holes)
    sums[channels] = hole.flatten()
    sums = box_sums(sums.unflatten(1, hole.shape), radius).flatten(1).index_select(1, places)
    return sums[:channels] / sums[channels].round().clamp(min=1)


def _sides(inverse: Tensor, places: Tensor, upright: bool) -> Iterator[_Side]:
    """The nearest visible pixel beside each place, towards the end of the rows and towards their start; or of the columns."""
    *_, height, width = inverse.shape
    column, row = places % width, places // width  # of all images below each other
    if not upright:
        lines, length, line, along = inverse.flatten(0, 2), width, row, column
    else:
        lines, length, line, along = inverse.transpose(-1, -2).flatten(0, 2), height, row // height * width + column, row % height
    for backwards in (False, True):
        values = lines if backwards else lines.flip(-1)
        distance, beside, source = _before(values, line, along if backwards else length - 1 - along)
        source = source if backwards else length - 1 - source
        source = row * width + source if not upright else (row - along + source) * width + column
        yield _Side(distance, beside, source)


def _before(values: Tensor, line: Tensor, along: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The last visible pixel before each place of lines (L, n): how far away, its inverse depth, and what continues it, along the line."""
    length = values.shape[-1]
    place = torch.arange(length, device=values.device, dtype=torch.int32)
    last = ((place + 1) * (values > 0)).cummax(-1).values.flatten()
    # A surface reaches as far as nothing nearer, and no hole, comes between.
    before, here = values[:, :-1], values[:, 1:]
    ends = F.pad(place[1:] * ((before == 0) | (before > here * EDGE)), (1, 0)).cummax(-1).values.flatten()
    first = line * length
    found = last.index_select(0, first + along) - 1
    at = found.clamp(min=0)
    beside = values.flatten().index_select(0, first + at)
    start = ends.index_select(0, first + at)
    run = (found - start + 1).clamp(min=1)
    step = (along - found - 1) % (2 * run)
    step = torch.where(step < run, step, 2 * run - 1 - step)
    nothing = found < 0
    distance = torch.where(nothing, 4 * length, along - found)
    return distance, beside.masked_fill(nothing, torch.inf), (found - step).clamp(0, length - 1)
