"""Surfaces as a moved camera sees them: a z-buffer of cells that reach half way to their neighbours, and the colours read back.

Convention: as `parallax`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .edges import EDGE

# A step below this factor that opens by three pixels at most is taken for noise: no background may shine through it.
_SMALL_STEP = 1.15
_OVERLAP = 0.25


class Layer(NamedTuple):
    """Surfaces as the source camera sees them, with a margin around the picture.

    Attributes:
        colour: (B, 3, h, w).
        inverse: (B, 1, h, w) inverse depth.
        margin: Pixels that were added on each side: (columns, rows).
    """

    colour: Tensor
    inverse: Tensor
    margin: tuple[int, int]


class View(NamedTuple):
    """A moved camera. All tensors are (B, 1, 1, 1).

    Attributes:
        across: How many columns the camera's move shifts what is at inverse depth 1.
        down: How many rows it shifts what is at inverse depth 1.
        shift_x: How many columns the whole picture is shifted back, so that the focus stays.
        shift_y: How many rows the whole picture is shifted back.
        forward: How far the camera goes forward, in the unit of depth.
        centre_x: The column of the optical axis.
        centre_y: The row of the optical axis.
        side: On which side of near things the move uncovers the background: "left", "right", "above", "below", or "inner" (towards the
            middle) and "outer".
    """

    across: Tensor
    down: Tensor
    shift_x: Tensor
    shift_y: Tensor
    forward: float
    centre_x: Tensor
    centre_y: Tensor
    side: str


class _Cells(NamedTuple):
    """A layer's pixels in the new picture, all (B, 1, h, w): the middle of each, and how far it reaches to each side."""

    x: Tensor
    y: Tensor
    left: Tensor
    right: Tensor
    up: Tensor
    down: Tensor


def render_layers(layers: Sequence[Layer], view: View, height: int, width: int) -> list[tuple[Tensor, Tensor]]:
    """Each layer as the moved camera sees it, (B, 3, height, width), and (B, 1, height, width) where it has a surface there."""
    cells = [_cells(layer, view) for layer in layers]
    extents = [torch.stack((torch.maximum(c.left, c.right).amax(), torch.maximum(c.up, c.down).amax())) for c in cells]
    # The device is asked this once a frame: the answer decides how many offsets are tried.
    reaches = torch.stack(extents).tolist()
    return [
        _seen(layer, _splat(layer.inverse, own, reach, height, width), view)
        for layer, own, reach in zip(layers, cells, reaches, strict=True)
    ]


def _seen(layer: Layer, nearest: Tensor, view: View) -> tuple[Tensor, Tensor]:
    """The layer's colours at the surfaces `nearest` (B, 1, height, width), inverse depth in the new picture; and where there are any."""
    covered = nearest > 0
    nearest = torch.where(covered, nearest, layer.inverse.amin((1, 2, 3), keepdim=True))
    rows, columns = torch.meshgrid(*(torch.arange(n, device=nearest.device).to(nearest) for n in nearest.shape[-2:]), indexing="ij")
    # Written as the pixel plus its move, so that without a move it is exact.
    u = columns - view.shift_x - (columns - view.centre_x - view.shift_x) * view.forward * nearest + view.across * nearest
    v = rows - view.shift_y - (rows - view.centre_y - view.shift_y) * view.forward * nearest + view.down * nearest
    return _sample(layer, u + layer.margin[0], v + layer.margin[1], nearest), covered


def _cells(layer: Layer, view: View) -> _Cells:
    """Each pixel is a cell that reaches half way to its neighbours on the same surface, and half a pixel towards others."""
    inverse = layer.inverse
    rows, columns = pixel_grid(inverse, layer.margin)
    closer = 1 / (1 - view.forward * inverse)
    x = (columns - view.centre_x - view.across * inverse) * closer + view.centre_x + view.shift_x
    y = (rows - view.centre_y - view.down * inverse) * closer + view.centre_y + view.shift_y
    return _Cells(x, y, *_half_extents(x, inverse, closer, -1), *_half_extents(y, inverse, closer, -2))


def _splat(inverse: Tensor, cells: _Cells, reach: Sequence[float], height: int, width: int) -> Tensor:
    """(B, 1, height, width) inverse depth in the new picture, 0 where there is no surface.

    Args:
        inverse: (B, 1, h, w), of the cells.
        cells: Where they lie.
        reach: How far the widest and the highest cell reach.
        height: Of the new picture.
        width: Of the new picture.
    """
    x, y, left, right, up, down = cells
    middle_x, middle_y = x.round(), y.round()
    first = torch.arange(inverse.shape[0], device=inverse.device).view(-1, 1, 1, 1) * (height * width)
    target = inverse.new_zeros(inverse.shape[0] * height * width)
    for offset_y in _offsets(reach[1]):
        i = middle_y + offset_y
        rows = (i >= y - up) & (i <= y + down) & (i >= 0) & (i < height)
        row = first + i.long().clamp_(0, height - 1) * width
        for offset_x in _offsets(reach[0]):
            j = middle_x + offset_x
            covered = rows & (j >= x - left) & (j <= x + right) & (j >= 0) & (j < width)
            # Picking out the covered cells would make a device wait. The others give a 0, which changes nothing, to pixels of their own:
            # one for all would make a GPU take them one after the other.
            index = j.long().clamp_(0, width - 1).add_(row)
            target.scatter_reduce_(0, index.flatten(), torch.where(covered, inverse, 0).flatten(), "amax")
    return target.view(-1, 1, height, width)


def _offsets(reach: float) -> range:
    """The pixels that a cell reaches, counted from the one its middle lies in. Three at most, as wider cells are rare."""
    pixels = min(3, math.floor(reach + 0.5))
    return range(-pixels, pixels + 1)


def _half_extents(position: Tensor, inverse: Tensor, size: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """How far each cell reaches to both sides along an axis, in pixels of the new picture.

    On one surface they overlap: cells of a surface that is sheared or turned do not tile it.
    """
    count = position.shape[axis] - 1
    gap = position.diff(dim=axis)
    one, other = inverse.narrow(axis, 0, count), inverse.narrow(axis, 1, count)
    step = torch.maximum(one, other) / torch.minimum(one, other)
    same = (step < EDGE) | ((step < _SMALL_STEP) & (gap < 4))
    gap = gap / 2 + _OVERLAP
    own = size / 2
    after, before = own.clone(), own.clone()
    after.narrow(axis, 0, count).copy_(torch.where(same, gap, own.narrow(axis, 0, count)))
    before.narrow(axis, 1, count).copy_(torch.where(same, gap, own.narrow(axis, 1, count)))
    # Rounding must not open cracks between cells that touch.
    return before + 1e-3, after + 1e-3


def _sample(layer: Layer, u: Tensor, v: Tensor, nearest: Tensor) -> Tensor:
    """Bilinear colours at columns u and rows v, of the pixels only that belong to the surface at inverse depth `nearest`."""
    height, width = layer.inverse.shape[-2:]
    u, v = u.clamp(0, width - 1), v.clamp(0, height - 1)
    left, top = u.floor(), v.floor()
    total, weights = torch.zeros_like(layer.colour[..., :1, :1]), torch.zeros_like(nearest)
    for row, weight_y in ((top, 1 - (v - top)), (top + 1, v - top)):
        for column, weight_x in ((left, 1 - (u - left)), (left + 1, u - left)):
            i, j = row.long().clamp(max=height - 1), column.long().clamp(max=width - 1)
            inverse = values_at(layer.inverse, i, j)
            same = torch.maximum(inverse, nearest) < torch.minimum(inverse, nearest) * EDGE
            weight = weight_x * weight_y * torch.where(same, 1.0, 1e-6)
            total = total + values_at(layer.colour, i, j) * weight
            weights = weights + weight
    return total / weights


def values_at(values: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """(B, C, h, w) values at rows and columns (B, 1, h', w'), which are brought inside."""
    height, width = values.shape[-2:]
    index = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).flatten(1)
    picked = values.flatten(2).gather(2, index[:, None].expand(-1, values.shape[1], -1))
    return picked.unflatten(2, row.shape[-2:])


def pixel_grid(like: Tensor, margin: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Row and column numbers of a map with a margin, counted from the picture's first pixel."""
    rows = torch.arange(like.shape[-2], device=like.device).view(-1, 1) - margin[1]
    return rows, torch.arange(like.shape[-1], device=like.device) - margin[0]
