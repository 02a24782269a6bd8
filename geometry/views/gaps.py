"""Closes gaps inside an object, through which a moved camera would see a distant background.

A depth map may have a step inside an object, such as a slightly nearer rim or a moulding. The step opens when the camera moves, and the
distant background, such as the sky, would show in the gap. In reality, the farther side of the step continues behind the nearer one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...utils import constant, is_above, kept_constants, whole_numbers
from ..edges.depth_edges import EDGE
from ..filters.chosen_pixels import places_where, rows_and_columns, values_at
from .forward_warp import Camera, Layer, RenderedLayer, are_alike, inverse_at

# Largest width of gaps: a share of the image's longer side, at least _LEAST pixels.
_WIDEST, _LEAST = 1 / 20, 8
# Pixels per batch, as noisy depth has gaps everywhere.
_AT_ONCE = 1 << 21
# Row and column steps, opposite ones in pairs.
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def close_gaps(layer: Layer, view: Camera, rendered: RenderedLayer, sideways: bool) -> RenderedLayer:
    """Fills gaps by continuing the surfaces beside them. Synchronises the device several times.

    A gap lies in a row or column, between two surfaces. One of them could continue through it at its own depth without contradicting the
    layer, as everything that the layer shows there is as near or nearer. This surface is mirrored into the gap.

    Args:
        rendered: From `render_layer` of the layer; its colours may be overwritten.
        sideways: Whether to search gaps along rows only.
    """
    directions = _DIRECTIONS[:2] if sideways else _DIRECTIONS
    begins, count = places_where(_before_far(rendered.inverse, directions)), rendered.inverse.numel()
    numbers = begins // count
    rendered, gaps = _closed(layer, view, rendered, torch.sub(begins, numbers, alpha=count), numbers)
    if gaps is not None and not sideways:
        # Where two gaps cross, only surfaces that were continued in the first pass are adjacent.
        begins = places_where(gaps)
        numbers = torch.arange(len(directions), device=begins.device).repeat_interleave(len(begins))
        rendered, _ = _closed(layer, view, rendered, begins.repeat(len(directions)), numbers)
    return rendered


class _Ends(NamedTuple):
    """Last visible pixels of surfaces, and the directions in which gaps may begin; all (N,).

    Attributes:
        place: Flat index over the images.
        row, column: Position in the image.
        down, right: Row and column step in the direction.
        pitch: Index step in the direction.
        room, behind: Number of pixels up to the image's border, in the direction and in the opposite one.
    """

    place: Tensor
    row: Tensor
    column: Tensor
    down: Tensor
    right: Tensor
    pitch: Tensor
    room: Tensor
    behind: Tensor

    @classmethod
    def at(cls, place: Tensor, direction: Tensor, size: tuple[int, int]) -> _Ends:
        """Ends at flat indices (N,) of images with a height and width, in directions (N,) that are indices of `_DIRECTIONS`."""
        row, column = rows_and_columns(place, *size)
        down, right, pitch, first, last = _steps(place, *size).index_select(1, direction)
        along = torch.addcmul(down * row, right, column)
        return cls(place, row, column, down, right, pitch, last - along, along - first)

    def take(self, index: Tensor) -> _Ends:
        """The ends at an index (M,)."""
        return _Ends(*torch.stack(self).index_select(1, index))


@kept_constants
def _steps(height: int, width: int) -> Tensor:
    """(5, directions): row, column and index step, and the coordinates along the direction of a line's first and last pixel."""
    down, right = steps = torch.tensor(_DIRECTIONS).T
    ends = (steps * torch.tensor(((height - 1,), (width - 1,)))).sum(0)
    return torch.stack((down, right, down * width + right, ends.clamp(max=0), ends.clamp(min=0)))


class _Gaps(NamedTuple):
    """Pixels in gaps, and the surfaces that continue there; all (M,).

    `places` are flat indices over the images, possibly repeated, `sources` those of the pixels whose colours fill the gaps, `beside` the
    inverse depth of the surfaces.
    """

    places: Tensor
    sources: Tensor
    beside: Tensor


def _closed(layer: Layer, view: Camera, rendered: RenderedLayer, begins: Tensor, direction: Tensor) -> tuple[RenderedLayer, Tensor | None]:
    """Continues surfaces through gaps that may begin at last pixels (N,), in directions (N,) of `_DIRECTIONS`.

    `rendered` with closed gaps, and their pixels (B, 1, H, W) bool; None if no gap was found.
    """
    inverse = rendered.inverse
    ends = _Ends.at(begins, direction, (inverse.shape[-2], inverse.shape[-1]))
    widest = max(_LEAST, round(max(inverse.shape[-2:]) * _WIDEST))
    # Testing the first step excludes most ends. A GPU follows a few of them to their end in the time that selecting takes.
    if inverse.device.type == "cpu" or len(begins) * widest > _AT_ONCE:
        beside = values_at(inverse, ends.place)
        ends = ends.take(places_where(_hidden(layer, view, inverse, ends, beside, whole_numbers(inverse, 1, 2)[:, None])))
    if len(ends.place) == 0:
        return rendered, None
    count = whole_numbers(inverse, 1, widest + 1)[:, None]
    most = max(1, _AT_ONCE // widest)
    parts = [_gaps(layer, view, inverse, _Ends(*part), count) for part in zip(*(each.split(most) for each in ends), strict=True)]
    gaps = _Gaps(*map(torch.cat, zip(*parts, strict=True))) if len(parts) > 1 else parts[0]
    if len(gaps.places) == 0:
        return rendered, None
    # If two surfaces could continue, the nearer one does.
    nearest = torch.zeros_like(inverse).flatten().scatter_reduce_(0, gaps.places, gaps.beside, "amax")
    sources = torch.where(gaps.beside == nearest.index_select(0, gaps.places), gaps.sources, constant(gaps.sources, -1))
    source = torch.full_like(nearest, -1, dtype=torch.long).scatter_reduce_(0, gaps.places, sources, "amax")
    pixels = rendered.colour.transpose(0, 1).flatten(1)
    pixels = pixels.index_copy_(1, gaps.places, pixels.index_select(1, source.index_select(0, gaps.places)))
    closed = torch.where(nearest > 0, nearest, inverse.flatten()).view_as(inverse)
    return rendered._replace(colour=pixels.unflatten(1, inverse[:, 0].shape).transpose(0, 1), inverse=closed), (nearest > 0).view_as(
        inverse
    )


def _gaps(layer: Layer, view: Camera, inverse: Tensor, ends: _Ends, count: Tensor) -> _Gaps:
    """The gaps that begin at N ends and are narrower than K pixels; `count` is 1 to K, (K, 1)."""
    places = torch.addcmul(ends.place, ends.pitch, count).clamp_(0, inverse.numel() - 1)
    there, beside = values_at(inverse, places.flatten()).view_as(places), values_at(inverse, ends.place)
    # The gap ends where distant surfaces and holes end. Up to there, the continued surface must be hidden in the layer.
    in_gap = ((count <= ends.room) & (there * EDGE < beside)).cummin(0).values
    width = in_gap.sum(0)
    ended = width < ends.room.clamp(max=len(count))
    hidden = (in_gap <= _hidden(layer, view, inverse, ends, beside, count)).all(0)
    chosen = places_where(in_gap & ended & hidden & (there > 0))  # holes are filled elsewhere
    if len(chosen) == 0:  # as in most images
        return _Gaps(chosen, chosen, beside[:0])
    number = torch.div(chosen, len(ends.place), rounding_mode="floor")
    which = torch.sub(chosen, number, alpha=len(ends.place))
    places, beside, ends = places.flatten().index_select(0, chosen), beside.index_select(0, which), ends.take(which)
    mirrored = torch.addcmul(ends.place, ends.pitch, number, value=-1).clamp_(0, inverse.numel() - 1)
    fits = (number <= ends.behind) & are_alike(values_at(inverse, mirrored), beside, EDGE)
    return _Gaps(places, torch.where(fits, mirrored, ends.place), beside)


def _hidden(layer: Layer, view: Camera, inverse: Tensor, ends: _Ends, beside: Tensor, count: Tensor) -> Tensor:
    """Whether the layer is not farther than the surfaces of N ends, continued by `count` (K, 1) pixels: (K, N); True in its holes."""
    image = ends.place // (inverse.shape[-2] * inverse.shape[-1])
    rows, columns = torch.addcmul(ends.row, ends.down, count), torch.addcmul(ends.column, ends.right, count)
    column, row = view.of_pixels(image).sources(beside, rows, columns)
    over = inverse_at(layer.inverse, layer.margin, image, column, row)
    return (over > beside / EDGE) | (over <= 0)


def _before_far(inverse: Tensor, directions: tuple[tuple[int, int], ...]) -> Tensor:
    """Pixels whose neighbour in each direction is farther by more than the factor EDGE: (directions, B, 1, H, W) bool."""
    height, width = inverse.shape[-2:]
    before = torch.zeros(len(directions), *inverse.shape, dtype=torch.bool, device=inverse.device)
    least = torch.where(inverse > 0, inverse * EDGE, constant(inverse, math.inf))
    for (down, right), into in zip(directions, before, strict=True):
        rows, columns = height - abs(down), width - abs(right)
        here = (..., slice(max(-down, 0), max(-down, 0) + rows), slice(max(-right, 0), max(-right, 0) + columns))
        there = least[..., max(down, 0) : max(down, 0) + rows, max(right, 0) : max(right, 0) + columns]
        is_above(inverse[here], there, out=into[here])
    return before
