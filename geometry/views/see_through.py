"""Closes the gaps through which a moved camera would see something far inside of a thing.

A depth map may have a step inside of a thing: a rim that is a little nearer, a moulding. The step opens when the camera moves, and what
lies far behind the thing, such as the sky, may show in the gap. In truth the farther side of the step goes on behind the nearer one.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..edges.depth_edges import EDGE
from ..filters.chosen_pixels import rows_and_columns
from .forward_warp import Camera, Layer, RenderedLayer

# The width of the widest gaps: a share of the image's longer side, and pixels at least.
_WIDEST, _LEAST = 1 / 20, 8
# Rows down and columns to the right of a step to the next pixel.
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def without_see_through(layer: Layer, view: Camera, rendered: RenderedLayer, sideways: bool) -> RenderedLayer:
    """Lets the surfaces beside gaps go on through them.

    A gap lies between two surfaces in a row or column that touch each other in the layer: one of them could go on through it at its depth
    without being visible in the layer, which everywhere shows something nearer there. It is continued as its own mirror image.
    The device is synchronised several times.

    Args:
        layer: What was rendered.
        view: The camera that it was rendered for.
        rendered: Of `render_layer`.
        sideways: Whether gaps are looked for along rows only.

    Returns:
        `rendered` with other colours and inverse depth in gaps.
    """
    directions = _DIRECTIONS[:2] if sideways else _DIRECTIONS
    steps = torch.tensor(directions, device=rendered.inverse.device)
    begins = _places_of(torch.stack([_is_before_far(rendered.inverse, *direction) for direction in directions]))
    count = rendered.inverse.numel()
    rendered, gaps = _closed(layer, view, rendered, begins % count, steps[begins // count])
    if len(gaps) > 0 and not sideways:
        # Where two gaps cross, only surfaces that go on through one of them are beside.
        rendered, _ = _closed(layer, view, rendered, gaps.repeat(len(steps)), steps.repeat_interleave(len(gaps), 0))
    return rendered


def _closed(layer: Layer, view: Camera, rendered: RenderedLayer, begins: Tensor, steps: Tensor) -> tuple[RenderedLayer, Tensor]:
    """Lets surfaces go on through gaps.

    Args:
        layer: As `without_see_through`.
        view: As `without_see_through`.
        rendered: What the camera sees.
        begins: (N,) last pixels of surfaces, as places counted through the images.
        steps: (N, 2) the directions, rows and columns, in which what is farther may begin beside them.

    Returns:
        `rendered` with the surfaces that go on, and the places (M,) of the gaps.
    """
    inverse = rendered.inverse
    size, depths = (inverse.shape[-2], inverse.shape[-1]), inverse.flatten()
    beside = depths.index_select(0, begins)
    # Most surfaces end there: the first step tells.
    one = steps.new_ones(1, 1)
    first = _is_far(inverse, beside, *_along(begins, steps, one, size)) & _hidden(layer, view, begins, beside, steps, one, size)
    found = _places_of(first)
    begins, beside, steps = (each.index_select(0, found) for each in (begins, beside, steps))
    count = torch.arange(1, max(_LEAST, round(max(size) * _WIDEST)) + 1, device=inverse.device)[:, None]
    places, inside = _along(begins, steps, count, size)
    in_gap = _is_far(inverse, beside, places, inside).cummin(0).values
    # Where far things and holes end, there is the other surface. Up to there the one beside must be hidden.
    width = in_gap.sum(0)
    hidden = _hidden(layer, view, begins, beside, steps, count, size).cummin(0).values.sum(0)
    ended = (width < len(count)) & inside.gather(0, width.clamp(max=len(count) - 1)[None])[0]
    chosen = _places_of(in_gap & ended & (hidden >= width))
    gaps, which = places.flatten().index_select(0, chosen), chosen % max(1, len(begins))
    shown = _places_of(depths.index_select(0, gaps) > 0)  # holes are filled elsewhere
    chosen, gaps, which = (each.index_select(0, shown) for each in (chosen, gaps, which))
    if len(gaps) == 0:
        return rendered, gaps
    goes_on, begins = beside.index_select(0, which), begins.index_select(0, which)
    # Of two surfaces that could go on, the nearer one.
    closed = depths.scatter_reduce(0, gaps, goes_on, "amax")
    mirrored, inside = _along(begins, -steps.index_select(0, which), torch.div(chosen, max(1, len(found)), rounding_mode="floor"), size)
    there = depths.index_select(0, mirrored)
    mirrored = torch.where(inside & (there < goes_on * EDGE) & (there * EDGE > goes_on), mirrored, begins)
    mirrored = torch.where(goes_on == closed.index_select(0, gaps), mirrored, -1)
    source = torch.full_like(depths, -1, dtype=torch.int64).scatter_reduce(0, gaps, mirrored, "amax").index_select(0, gaps)
    pixels = rendered.colour.transpose(0, 1).flatten(1)
    pixels = pixels.index_copy(1, gaps, pixels.index_select(1, source)).unflatten(1, inverse[:, 0].shape)
    return rendered._replace(colour=pixels.transpose(0, 1), inverse=closed.view_as(inverse)), gaps


def _is_far(inverse: Tensor, beside: Tensor, places: Tensor, inside: Tensor) -> Tensor:
    """Which of the places (K, N), if inside, show what is farther by an edge than inverse depths `beside` (N,), or nothing."""
    there = inverse.flatten().index_select(0, places.flatten()).view_as(places)
    return inside & (there * EDGE < beside)


def _is_before_far(inverse: Tensor, down: int, right: int) -> Tensor:
    """(B, 1, H, W) bool: whether a surface is nearer by an edge than the one so many rows and columns on."""
    rows, columns = inverse.shape[-2] - abs(down), inverse.shape[-1] - abs(right)
    here, there = (inverse.narrow(-2, max(sign * down, 0), rows).narrow(-1, max(sign * right, 0), columns) for sign in (-1, 1))
    found = (there > 0) & (here > there * EDGE)
    return F.pad(found, (max(-right, 0), max(right, 0), max(-down, 0), max(down, 0)))


def _places_of(chosen: Tensor) -> Tensor:
    """Indices (N,) of what is chosen in a bool tensor, whose number a GPU is waited for."""
    if chosen.device.type == "cpu":  # in a quarter of the time of torch's own `nonzero`
        return torch.from_numpy(np.flatnonzero(chosen.numpy()))
    return chosen.flatten().nonzero().flatten()


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


def _hidden(layer: Layer, view: Camera, begins: Tensor, beside: Tensor, steps: Tensor, count: Tensor, size: tuple[int, int]) -> Tensor:
    """Whether the layer hides surfaces at inverse depths `beside` (N,), so many (K, 1) steps beyond their last pixels: (K, N) bool."""
    image, (images, height, width) = begins // (size[0] * size[1]), (len(layer.inverse), *layer.inverse.shape[-2:])
    row, column = _moved(begins, steps, count, size)
    column, row = view.of_pixels(image, images).sources(beside, row, column)
    u = (column + (layer.margin[0] + 0.5)).floor().long().clamp_(0, width - 1)
    v = (row + (layer.margin[1] + 0.5)).floor().long().clamp_(0, height - 1)
    place = (image * height + v) * width + u
    there = layer.inverse.flatten().index_select(0, place.flatten()).view_as(place)
    return (there > beside / EDGE) | (there <= 0)
