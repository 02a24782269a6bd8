"""Closes the gaps through which a moved camera would see something far inside of a thing.

A depth map may have a step inside of a thing: a rim that is a little nearer, a moulding. The step opens when the camera moves, and what
lies far behind the thing, such as the sky, may show in the gap. In truth the farther side of the step goes on behind the nearer one.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...utils import sent_to
from ..edges.depth_edges import EDGE
from ..filters.chosen_pixels import places_where, rows_and_columns, values_at
from .forward_warp import Camera, Layer, RenderedLayer, inverse_at

# The width of the widest gaps: a share of the image's longer side, and pixels at least.
_WIDEST, _LEAST = 1 / 20, 8
# Places that are looked at in one go: noise has gaps everywhere.
_AT_ONCE = 1 << 21
# Rows down and columns to the right of a step to the next pixel.
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def close_gaps(layer: Layer, view: Camera, rendered: RenderedLayer, sideways: bool) -> RenderedLayer:
    """Lets the surfaces beside gaps go on through them.

    A gap lies between two surfaces in a row or column that touch each other in the layer: one of them could go on through it at its depth
    without being visible in the layer, which everywhere shows something nearer there. It is continued as its own mirror image.
    The device is synchronised several times.

    Args:
        layer: What was rendered.
        view: The camera that it was rendered for.
        rendered: Of `render_layer`; its colours may be overwritten.
        sideways: Whether gaps are looked for along rows only.

    Returns:
        `rendered` with other colours and inverse depth in gaps.
    """
    directions = _DIRECTIONS[:2] if sideways else _DIRECTIONS
    steps = sent_to(rendered.inverse.device, torch.tensor(directions))
    begins = places_where(_before_far(rendered.inverse, directions))
    count = rendered.inverse.numel()
    rendered, gaps = _closed(layer, view, rendered, begins % count, steps[begins // count])
    if len(gaps) > 0 and not sideways:
        # Where two gaps cross, only surfaces that go on through one of them are beside.
        rendered, _ = _closed(layer, view, rendered, gaps.repeat(len(steps)), steps.repeat_interleave(len(gaps), 0))
    return rendered


class _Gaps(NamedTuple):
    """Places in gaps, and how surfaces go on through them; all (M,) but `steps`.

    Attributes:
        places: Counted through the images; one may be there several times.
        begins: The last visible pixel of the surface that goes on.
        steps: (M, 2) rows and columns from a pixel to the next one, from there on.
        number: How many steps lie between both.
        beside: The surface's inverse depth.
    """

    places: Tensor
    begins: Tensor
    steps: Tensor
    number: Tensor
    beside: Tensor


def _closed(layer: Layer, view: Camera, rendered: RenderedLayer, begins: Tensor, steps: Tensor) -> tuple[RenderedLayer, Tensor]:
    """Lets surfaces go on through gaps.

    Args:
        layer: As `close_gaps`.
        view: As `close_gaps`.
        rendered: What the camera sees; its colours may be overwritten.
        begins: (N,) last pixels of surfaces, as places counted through the images.
        steps: (N, 2) the directions, rows and columns, in which what is farther may begin beside them.

    Returns:
        `rendered` with the surfaces that go on, and the places (M,) of the gaps.
    """
    inverse = rendered.inverse
    size = (inverse.shape[-2], inverse.shape[-1])
    # Most surfaces end there: the first step tells.
    first = _beyond(layer, view, inverse, begins, steps, steps.new_ones(1, 1))
    found = places_where(first.far & first.hidden)
    begins, steps = begins.index_select(0, found), steps.index_select(0, found)
    count = torch.arange(1, max(_LEAST, round(max(size) * _WIDEST)) + 1, device=inverse.device)[:, None]
    most = max(1, _AT_ONCE // len(count))
    parts = [_gaps(layer, view, inverse, *part, count) for part in zip(begins.split(most), steps.split(most), strict=True)]
    gaps = _Gaps(*map(torch.cat, zip(*parts, strict=True)))
    if len(gaps.places) == 0:
        return rendered, gaps.places
    places, number = gaps.places.unique(return_inverse=True)
    # Of two surfaces that could go on, the nearer one.
    nearest = torch.zeros_like(places, dtype=inverse.dtype).scatter_reduce(0, number, gaps.beside, "amax")
    mirrored, inside = _along(gaps.begins, -gaps.steps, gaps.number - 1, size)
    there = values_at(inverse, mirrored)
    mirrored = torch.where(inside & (there < gaps.beside * EDGE) & (there * EDGE > gaps.beside), mirrored, gaps.begins)
    mirrored = torch.where(gaps.beside == nearest.index_select(0, number), mirrored, -1)
    sources = torch.full_like(places, -1).scatter_reduce(0, number, mirrored, "amax")
    pixels = rendered.colour.transpose(0, 1).flatten(1)
    pixels = pixels.index_copy_(1, places, pixels.index_select(1, sources)).unflatten(1, inverse[:, 0].shape)
    closed = inverse.flatten().index_copy(0, places, nearest).view_as(inverse)
    return rendered._replace(colour=pixels.transpose(0, 1), inverse=closed), places


def _gaps(layer: Layer, view: Camera, inverse: Tensor, begins: Tensor, steps: Tensor, count: Tensor) -> _Gaps:
    """The gaps beside the last pixels (N,) of surfaces, in directions (N, 2), up to `count` (K, 1) steps wide."""
    beyond = _beyond(layer, view, inverse, begins, steps, count)
    # Where far things and holes end, there is the other surface. Up to there the one beside must be hidden.
    in_gap = beyond.far.cummin(0).values
    width = in_gap.sum(0)
    ended = (width < len(count)) & beyond.inside.gather(0, width.clamp(max=len(count) - 1)[None])[0]
    hidden = beyond.hidden.cummin(0).values.sum(0) >= width
    chosen = places_where(in_gap & ended & hidden & beyond.shown)  # holes are filled elsewhere
    which = chosen % max(1, len(begins))
    number = torch.div(chosen, max(1, len(begins)), rounding_mode="floor") + 1
    begins = begins.index_select(0, which)
    places = beyond.places.flatten().index_select(0, chosen)
    return _Gaps(places, begins, steps.index_select(0, which), number, values_at(inverse, begins))


class _Beyond(NamedTuple):
    """What is K steps from the last pixels of N surfaces; all (K, N), all but the first bool.

    Attributes:
        places: Counted through the images.
        inside: Whether they are inside the image.
        shown: Whether a surface is visible there.
        far: Whether it is farther by an edge, or none is visible.
        hidden: Whether the layer would hide the surface that ended, were it there.
    """

    places: Tensor
    inside: Tensor
    shown: Tensor
    far: Tensor
    hidden: Tensor


def _beyond(layer: Layer, view: Camera, inverse: Tensor, begins: Tensor, steps: Tensor, count: Tensor) -> _Beyond:
    """What is `count` (K, 1) steps (N, 2) from the last pixels (N,) of surfaces."""
    size, beside = (inverse.shape[-2], inverse.shape[-1]), values_at(inverse, begins)
    places, inside = _along(begins, steps, count, size)
    there = values_at(inverse, places.flatten()).view_as(places)
    image, (row, column) = begins // (size[0] * size[1]), _moved(begins, steps, count, size)
    column, row = view.of_pixels(image).sources(beside, row, column)
    over = inverse_at(layer.inverse, layer.margin, image, column, row)
    return _Beyond(places, inside, there > 0, inside & (there * EDGE < beside), (over > beside / EDGE) | (over <= 0))


def _before_far(inverse: Tensor, directions: tuple[tuple[int, int], ...]) -> Tensor:
    """Where a surface is nearer by an edge than the one beside it in each direction: (directions, B, 1, H, W) bool."""
    height, width = inverse.shape[-2:]
    found = torch.zeros(len(directions), *inverse.shape, dtype=torch.bool, device=inverse.device)
    for (down, right), into in zip(directions, found, strict=True):
        rows, columns = height - abs(down), width - abs(right)
        here = (..., slice(max(-down, 0), max(-down, 0) + rows), slice(max(-right, 0), max(-right, 0) + columns))
        there = inverse[..., max(down, 0) : max(down, 0) + rows, max(right, 0) : max(right, 0) + columns]
        into[here] = (there > 0) & (inverse[here] > there * EDGE)
    return found


def _along(begins: Tensor, steps: Tensor, count: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Places so many steps from others (N,), and whether they are inside the image; as `_moved`."""
    height, width = size
    row, column = _moved(begins, steps, count, size)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    first = begins // (height * width) * (height * width)
    return first + row.clamp(0, height - 1) * width + column.clamp(0, width - 1), inside


def _moved(begins: Tensor, steps: Tensor, count: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows and columns `count` steps (N, 2) from places (N,): (N,) of a count for each, or (K, N) of K counts for all, (K, 1)."""
    row, column = rows_and_columns(begins, *size)
    return row + steps[:, 0] * count, column + steps[:, 1] * count
