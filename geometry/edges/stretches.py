"""Sums over stretches of edges: what a single pixel does not tell, a stretch does."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...utils import kept_constants
from ..filters.box import box_sums
from ..filters.chosen_pixels import rows_and_columns

# How many cells on each side a stretch takes in.
_STRETCH = 3
# Pixels between the distances from an edge by which values are summed up.
_STEP = 0.125


class Stretches:
    """A coarse grid over images, which holds sums over stretches of edges.

    Args:
        place: (N,) pixels beside edges, counted through the images.
        size: Of the images: number, height, width.
        cell: Height and width of a cell, in pixels.
    """

    def __init__(self, place: Tensor, size: tuple[int, ...], cell: int) -> None:
        images, height, width = size
        self._shape = (images, -(-height // cell), -(-width // cell))
        rows, columns = rows_and_columns(place, height, width)
        self._first = place // (height * width) * (self._shape[1] * self._shape[2])
        self._index = self._first + rows // cell * self._shape[2] + columns // cell
        self._row, self._column = ((each - (cell - 1) / 2) / cell for each in (rows, columns))

    def sums(self, values: Tensor) -> Tensor:
        """Of (C, N) values, over the stretch around each cell: (B, C, rows, columns)."""
        return self.over_stretches(_sums_at(self._index, values, math.prod(self._shape)))

    def over_stretches(self, values: Tensor) -> Tensor:
        """(C, cells) values summed over the stretch around each cell: (B, C, rows, columns)."""
        grid = values.view(-1, *self._shape).transpose(0, 1)
        return box_sums(box_sums(grid, _STRETCH), _STRETCH)

    def profiles(self, values: Tensor, away: Tensor, farthest: float) -> tuple[Tensor, Tensor]:
        """Sums in each cell by the distance from the edge.

        Args:
            values: (C, N); each goes in shares to the two distances that it lies between.
            away: (N,) distances.
            farthest: The largest of them on both sides.

        Returns:
            The distances (D,), and the sums (C, cells, D).
        """
        count = math.ceil(2 * farthest / _STEP) + 2
        steps = (away + farthest) / _STEP
        lower = steps.floor()
        index, share = self._index * count + lower.long(), steps - lower
        total = math.prod(self._shape) * count
        sums = _sums_at(index, values * (1 - share), total) + _sums_at(index + 1, values * share, total)
        return torch.arange(count, device=away.device) * _STEP - farthest, sums.view(len(values), -1, count)

    def nearest(self, grid: Tensor) -> Tensor:
        """(B, C, rows, columns) values at the pixels, (C, N), of the cell that each is in."""
        return grid.transpose(0, 1).flatten(1).index_select(1, self._index)

    def between(self, grid: Tensor) -> Tensor:
        """(B, C, rows, columns) values at the pixels, (C, N), linear between cells."""
        values = grid.transpose(0, 1).flatten(1)
        _, height, width = self._shape
        # Rows and columns of the four cells, (4, N), and their shares.
        down, right = _corners(grid)
        row, column = self._row.floor() + down, self._column.floor() + right
        share = (1 - (self._row - row).abs()) * (1 - (self._column - column).abs())
        index = self._first + row.long().clamp(0, height - 1) * width + column.long().clamp(0, width - 1)
        if grid.device.type != "cpu":
            return (values.index_select(1, index.flatten()).unflatten(1, index.shape) * share).sum(1)
        total = values.new_zeros((len(values), len(self._index)))
        for cells, shares in zip(index, share, strict=True):  # all at once would not fit the cache
            total.addcmul_(values.index_select(1, cells), shares)
        return total


@kept_constants
def _corners() -> tuple[Tensor, Tensor]:
    """(4, 1) each, rows and columns from the first of four cells."""
    down, right = torch.tensor(((0, 0, 1, 1), (0, 1, 0, 1)))[..., None]
    return down, right


def _sums_at(index: Tensor, values: Tensor, count: int) -> Tensor:
    """(C, count) sums of the values (C, N) that have the same index (N,)."""
    if values.device.type != "cpu":
        return values.new_zeros(len(values), count).index_add_(1, index, values)
    return torch.stack([each.new_zeros(count).index_add_(0, index, each) for each in values])  # so in half the time
