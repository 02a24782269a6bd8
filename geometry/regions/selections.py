"""Where a selection starts: the small depth and colours of one image, and the pixels of points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...options.values import Point
from ...utils import finite_bounds, resize_map, to_cpu
from ..checks import check_depth, check_map
from ..edges.depth_edges import edge_growth, edge_radius, sharpen_known_depth
from ..levels import FAR_AND_NEAR_END, measure_range_of_samples

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


_LEAST_RANGE = 1e-3
"""Minimum range of inverse depth relative to the near end: less is rounding, or a wall's grain."""
_FARTHEST = 1e-9


def check_maps_of_one(depth: Tensor, image: Tensor) -> None:
    """Checks, as `check_map`, one depth map (1, 1, H, W) with its image (1, 3, H, W). Raises ValueError for several."""
    check_map(depth, 1, "depth")
    if len(depth) != 1:
        raise ValueError(f"depth is of {len(depth)} images; expected 1: pass them one by one")
    check_map(image, 3, "image", like=depth)


def small_scene(depth: Tensor, image: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Downsamples nearness and colours of depth (1, 1, H, W) and an image (1, 3, H, W) to `rows` and `columns`, on the CPU.

    Synchronises the device once. Raises ValueError: depth that is not positive and finite, or an image with NaN or infinite pixels.

    Returns:
        (rows, columns), inverse depth as a share of its range, about 0 at its far end, with steps at the image's edges; and colours
        (1, 3, rows, columns) in [0, 1]. Constant depth becomes constant nearness.
    """
    small, depth = to_cpu({"image": resize_map(image.float(), rows, columns), "depth": depth}).values()
    check_depth(depth)
    if not bool(small.isfinite().all()):
        finite_bounds(image)
    small = small.clamp(0, 1)
    # In float64, or rounding would look like a range.
    soft = resize_map(1 / depth.double(), rows, columns).float().clamp(min=_FARTHEST)
    far, near = measure_range_of_samples(soft, torch.ones_like(soft, dtype=torch.bool), FAR_AND_NEAR_END)
    sharp = sharpen_known_depth(1 / soft, edge_radius(rows, columns), edge_growth(rows, columns), small)
    span, least = near - far, (near - far).clamp(min=_LEAST_RANGE * near)
    # A range below the minimum is mostly rounding, so the values shrink with it.
    return ((1 / sharp - far) / least * (span / least))[0, 0], small
