"""Sums over short stretches of edges, which carry more evidence than single pixels."""

from __future__ import annotations

import math
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, kept_constants, sample_at
from ..filters.box import box_sums

# Radius, in cells, of the two box sums over a stretch.
_STRETCH = 3
# Sampling distance of the profiles, in pixels.
_STEP = 0.125


class Stretches:
    """A coarse grid over images, for sums over stretches of edges.

    Args:
        pixels: (N,) each, image, row and column of pixels beside edges, from `located`.
        size: Number of images, height and width.
        cell: Height and width of a cell in pixels.
    """

    def __init__(self, pixels: tuple[Tensor, Tensor, Tensor], size: tuple[int, ...], cell: int) -> None:
        images, height, width = size
        self._shape, self._cell = (images, -(-height // cell), -(-width // cell)), cell
        image, self._rows, self._columns = pixels
        self._image = image if images > 1 else None

    @cached_property
    def _index(self) -> Tensor:
        """(N,): flat index of each pixel's cell, through the grids of all images."""
        return self._cells(self._shape)

    def _cells(self, shape: tuple[int, ...]) -> Tensor:
        """(N,): flat index of each pixel's cell, through grids of this shape (images, rows, columns)."""
        index = torch.add(self._columns // self._cell, self._rows // self._cell, alpha=shape[2])
        return index if self._image is None else torch.add(index, self._image, alpha=shape[1] * shape[2])

    def sums(self, values: Tensor) -> Tensor:
        """Sums of values (C, N) over the stretch around each cell: (B, C, rows, columns)."""
        return self.over_stretches(_sums_at(self._index, values, math.prod(self._shape)))

    def bordered(self) -> tuple[Tensor, tuple[int, int, int]]:
        """(N,): flat index of each pixel's cell, through grids with a border of one cell, and their shape (images, rows, columns)."""
        images, height, width = self._shape
        shape = images, height + 2, width + 2
        return self._cells(shape) + (width + 3), shape

    def over_stretches(self, values: Tensor) -> Tensor:
        """Sums of cells' values (C, cells) over the stretch around each cell: (B, C, rows, columns)."""
        grid = values.view(-1, *self._shape).transpose(0, 1)
        return box_sums(box_sums(grid, _STRETCH), _STRETCH)

    def profiles(self, values: Tensor, away: Tensor, farthest: float) -> Tensor:
        """Sums values in each cell by their distance from the edge.

        Args:
            values: (C, N); each is divided between the two nearest sampled distances.
            away: (N,) distances in pixels.
            farthest: Largest distance on both sides.

        Returns:
            The sums (C, D, cells), at the distances of `distances_to`.
        """
        count, cells = len(distances_to(away, farthest)), math.prod(self._shape)
        steps = torch.add(constant(away, farthest / _STEP), away, alpha=1 / _STEP)
        lower = steps.floor()
        index = torch.add(self._index, lower.long(), alpha=cells)
        upper = values * (steps - lower)
        both = torch.cat((index, index + cells)), torch.cat((values - upper, upper), 1)
        return _sums_at(*both, count * cells).view(len(values), count, cells)

    def nearest(self, grid: Tensor) -> Tensor:
        """Values (C, N) at the pixels: those of their cells in a grid (B, C, rows, columns)."""
        return grid.transpose(0, 1).flatten(1).index_select(1, self._index)

    def between(self, grid: Tensor) -> Tensor:
        """Values (C, N) at the pixels, interpolated linearly between the cells of a grid (B, C, rows, columns)."""
        if self._image is not None:  # stacked vertically, with a border between them
            grid = F.pad(grid, (0, 0, 1, 1), mode="replicate").transpose(0, 1).flatten(1, 2)[None]
        return sample_at(grid, self._places)[0, :, 0]

    @cached_property
    def _places(self) -> Tensor:
        """(1, 1, N, 2): positions of the pixels for `sample_at`."""
        images, height, width = self._shape
        scale, rows = 2 / self._cell, self._rows
        if self._image is not None:
            height += 2
            rows = torch.add(rows, self._image, alpha=height * self._cell) + self._cell
            height *= images
        at = torch.stack((self._columns, rows), -1).float()
        first, step = ((1 / (self._cell * width) - 1, 1 / (self._cell * height) - 1), (scale / width, scale / height))
        return torch.addcmul(constant(at, first), at, constant(at, step))[None, None]


@kept_constants
def distances_to(farthest: float) -> Tensor:
    """(D,): sampled distances from an edge, up to `farthest` on both sides; the first argument of a call is a tensor on the device."""
    return torch.arange(math.ceil(2 * farthest / _STEP) + 2, dtype=torch.float32) * _STEP - farthest


def share_above(values: Tensor, least: float, over: float) -> Tensor:
    """A ramp from 0 at `least` to 1 at `least + over`; decreasing for a negative `over`."""
    return torch.add(constant(values, -least / over), values, alpha=1 / over).clamp_(0, 1)


def shares_above(values: Tensor, *bounds: tuple[float, float]) -> Tensor:
    """`share_above` of values (K, ...), with a `least` and an `over` for each of the K."""
    lines = constant(values, tuple((-least / over, 1 / over) for least, over in bounds)).view(len(values), 2, *[1] * (values.ndim - 1))
    return torch.addcmul(lines[:, 0], values, lines[:, 1]).clamp_(0, 1)


def _sums_at(index: Tensor, values: Tensor, count: int) -> Tensor:
    """(C, count): sums of the values (C, N) that have the same index (N,)."""
    if values.device.type != "cpu":
        return values.new_zeros(len(values), count).index_add_(1, index, values)
    return torch.stack([each.new_zeros(count).index_add_(0, index, each) for each in values])  # half the time
