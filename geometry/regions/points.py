"""Points marked as inside or outside an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...options.places import Point

Pixel = tuple[int, int]
"""Row and column."""

_REACH = 3  # radius in pixels of the square that a point marks


class Pixels(NamedTuple):
    """Pixels marked as inside an object, and as outside."""

    inside: list[Pixel]
    outside: list[Pixel]

    def mark(self, shape: torch.Size) -> Tensor:
        """(H, W) int64: 1 at inside pixels, -1 at outside pixels, and 0 elsewhere."""
        marks = torch.zeros(shape, dtype=torch.int64, device="cpu")
        for pixels, mark in ((self.inside, 1), (self.outside, -1)):
            for pixel in pixels:
                marks[pixel] = mark
        return marks

    def around(self, pixel: Pixel, shape: torch.Size) -> Tensor:
        """(H, W) bool: the square around a marked pixel, without places that are as close to a pixel of the other kind."""
        nearby = torch.zeros(shape, dtype=torch.bool, device="cpu")
        row, column = pixel
        window = tuple(slice(max(0, place - _REACH), place + _REACH + 1) for place in pixel)
        down, right = torch.arange(shape[0], device="cpu")[window[0], None], torch.arange(shape[1], device="cpu")[None, window[1]]
        own, here = (down - row).square() + (right - column).square(), nearby[window]
        here[:] = True
        for other_row, other_column in self.outside if pixel in self.inside else self.inside:
            if max(abs(other_row - row), abs(other_column - column)) <= 3 * _REACH:  # farther ones do not reach the square
                here &= own < (down - other_row).square() + (right - other_column).square()
        return nearby


def pixel_at(point: Point, rows: int, columns: int) -> Pixel:
    """Row and column of the pixel at a point, in an image with `rows` and `columns`."""
    x, y = point
    return min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)


def pixels_at(points: Sequence[Point], not_points: Sequence[Point], rows: int, columns: int) -> Pixels:
    """The pixels of points, without duplicates; a pixel with points of both kinds is inside."""
    inside, outside = (dict.fromkeys(pixel_at(point, rows, columns) for point in each) for each in (points, not_points))
    return Pixels([*inside], [pixel for pixel in outside if pixel not in inside])
