"""Fills disoccluded pixels from the background beside them.

The farther side of a hole is the background. It is continued into the hole as its own mirror image, so its grain goes on, and nothing of
the thing in front is smeared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..chosen_pixels import chosen_places, rows_and_columns, values_at
from ..edges.depth_edges import EDGE, edge_radius
from ..edges.guided_filter import box_sums

# A surface that is continued far is mirrored in turns of this share of the image's longer side, shorter ones where there the image shows
# another surface: one whose inverse depth differs by more than this factor.
_TURN, _SAME = 1 / 20, 1.2


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
    places = chosen_places(hole)
    sides = [side for upright in ((False,) if sideways else (False, True)) for side in _sides(inverse, places, upright)]
    nearest = torch.stack([torch.where(side.inverse < torch.inf, side.inverse, 0) for side in sides]).amax(0)
    farthest = torch.stack([side.inverse for side in sides]).amin(0)
    # What is nearer than halfway hides the background. All others are background, of which the closest continues: on a slope, as that of a
    # floor or a sky, others are a little farther away in depth but far away in the image.
    middle = torch.where(nearest > farthest * EDGE, (nearest * farthest).sqrt(), nearest)
    best, *others = (side._replace(distance=torch.where(side.inverse <= middle, side.distance, 4 * max(inverse.shape))) for side in sides)
    for side in others:
        chosen = side.distance < best.distance
        best = _Side(*(torch.where(chosen, new, old) for new, old in zip(side, best, strict=True)))
    return _filled(colour, hole, places, best.source)


def continue_surfaces(colour: Tensor, inverse: Tensor, last: Tensor, inset: int = 0, hole: Tensor | None = None) -> Tensor:
    """Fills the pixels where no surface is visible from surfaces that are known to go on there.

    Args:
        colour: (B, C, H, W).
        inverse: (B, 1, H, W) inverse depth; without `hole` 0 where no surface is visible.
        last: (B, 2, H, W) row and column of the last visible pixel of the surface that goes on in each such pixel. The surface is continued
            as its own mirror image, from this pixel outwards.
        inset: How many pixels of the surface beside the last one are not mirrored, as they may show what hides it too.
        hole: (B, 1, H, W) bool, the pixels to fill. Last pixels may be among them: a surface may go on behind one thing and hide another.

    Returns:
        (B, C, H, W), `colour` where a surface is visible.
    """
    height, width = inverse.shape[-2:]
    hole = inverse <= 0 if hole is None else hole
    places = chosen_places(hole)
    rows, columns = rows_and_columns(places, height, width)
    first = places - rows * width - columns
    ends = last.transpose(0, 1).flatten(1).index_select(1, places)
    away = torch.stack((ends[0] - rows, ends[1] - columns)).to(inverse.dtype)
    distance = away.abs().amax(0).clamp(min=1)
    depths, shown, turn = inverse.flatten(), inverse.masked_fill(hole, 0).flatten(), max(1, round(max(height, width) * _TURN))

    def steps_out(steps: Tensor | int) -> tuple[Tensor, Tensor]:
        """The place so many steps beyond the last visible pixel, and whether that is inside the image."""
        row, column = ((end + along / distance * steps).round().long() for end, along in zip(ends, away, strict=True))
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        return first + row.clamp(0, height - 1) * width + column.clamp(0, width - 1), inside

    def alike(there: Tensor) -> Tensor:
        return (there > 0) & ((seen <= 0) | ((there < seen * _SAME) & (there * _SAME > seen)))

    end, _ = steps_out(0)
    seen = depths.index_select(0, end)
    source, _ = steps_out(inset)
    # Beyond the last pixel there may be what hides the surface on another side.
    source = torch.where(alike(depths.index_select(0, source)), source, end)
    found = torch.zeros_like(hole.flatten()[places])
    while turn:
        step = (distance - 1) % (2 * turn)
        place, inside = steps_out(torch.where(step < turn, step, 2 * turn - 1 - step) + inset)
        fits = inside & alike(shown.index_select(0, place))
        source, found = torch.where(fits & ~found, place, source), found | fits
        turn //= 2
    return _filled(colour, hole, places, source)


def _filled(colour: Tensor, hole: Tensor, places: Tensor, source: Tensor) -> Tensor:
    """Colours (B, C, H, W) whose holes (B, 1, H, W) at these places (N,) have those of the sources (N,), averaged over what is near."""
    pixels = colour.transpose(0, 1).flatten(1).clone()
    means = _means(pixels.index_select(1, source), hole, places, max(1, edge_radius(*hole.shape[-2:]) // 2))
    pixels.index_copy_(1, places, torch.where(hole.flatten()[places], means, pixels.index_select(1, places)))
    return pixels.unflatten(1, hole[:, 0].shape).transpose(0, 1).contiguous()


def _means(continued: Tensor, hole: Tensor, places: Tensor, radius: int) -> Tensor:
    """Means (C, N) over the holes in a square around each place: rows that were continued one by one do not fit to a pixel."""
    holes = hole.flatten()[places]

    def sums(values: Tensor) -> Tensor:
        plane = values.new_zeros(hole.shape)
        plane.view(-1).index_copy_(0, places, values * holes)
        return values_at(box_sums(plane, radius), places)

    count = sums(torch.ones_like(continued[0])).round().clamp(min=1)
    return torch.stack([sums(values) / count for values in continued])  # one by one: large maps cost a CPU more than their arithmetic


def _sides(inverse: Tensor, places: Tensor, upright: bool) -> Iterator[_Side]:
    """The nearest visible pixel beside each place, towards the end of the rows and towards their start; or of the columns."""
    height, width = inverse.shape[-2:]
    row, column = rows_and_columns(places, height, width)
    along, length, pitch = (row, height, width) if upright else (column, width, 1)
    order = torch.arange(len(places), device=places.device)
    if upright:
        order = (places + column * (height - 1) - row * (width - 1)).argsort()
    for sign in (1, -1):
        ordered = order.flip(0) if sign > 0 else order
        found = _beside(inverse.flatten(), places[ordered], along[ordered], length, sign, sign * pitch)
        yield _Side(*(torch.empty_like(each).index_copy_(0, ordered, each) for each in found))


def _beside(values: Tensor, places: Tensor, along: Tensor, length: int, sign: int, pitch: int) -> _Side:
    """The nearest visible pixel on one side of each place.

    Args:
        values: Inverse depth of the images' pixels.
        places: (N,) where nothing is visible, or all pixels; line by line, and in each line as one comes from that side.
        along: (N,) where each is in its line of `length` pixels.
        sign: The side: -1 towards a line's start, 1 towards its end.
        pitch: From one place to the next on that side.
    """

    def inside(steps: Tensor | int) -> Tensor:
        return (along + sign * steps >= 0) & (along + sign * steps < length)

    def value(steps: Tensor | int) -> Tensor:
        return values.index_select(0, (places + pitch * steps).clamp(0, len(values) - 1))

    # A GPU scans each line by a thread of its own, but can do so only where there are all.
    lines = (-1, length) if len(places) == len(values) else (1, -1)
    index = torch.arange(len(places), device=places.device)
    # A run of places without a visible pixel between them begins beside one, or at the border.
    begins = ~inside(1) | (value(1) > 0)
    distance = index + 1 - (index * begins).view(lines).cummax(1).values.flatten()
    # A surface reaches as far as nothing nearer, and no hole, comes between. Its mirror image is as long as the run at most.
    next_one = value(2 * distance)
    ends = ~inside(2 * distance) | (next_one == 0) | (next_one > value(2 * distance - 1) * EDGE)
    # In each run the first end so far: those of later runs are smaller by more than any distance.
    later = begins.cumsum(0) * (2 * length)
    reach = (torch.where(ends, distance, length) - later).view(lines).cummin(1).values.flatten() + later
    step = (distance - 1) % (2 * reach)
    step = torch.where(step < reach, step, 2 * reach - 1 - step)
    nothing = ~inside(distance)
    # Beyond the line's end there are other lines, or another image.
    source = torch.where(nothing, places, places + pitch * (distance + step))
    return _Side(torch.where(nothing, 4 * length, distance), value(distance).masked_fill(nothing, torch.inf), source)
