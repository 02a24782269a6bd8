"""Minimum, maximum and median filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...utils import constant, opencv_for
from .box import is_pooled, pooled

# Radius up to which OpenCV, whose time grows with it, is faster than doubling.
_WIDEST_BY_OPENCV = 64
# Pixels whose squares are sorted at once.
_STRIP = 1 << 20


def extremes_within(values: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Minimum and maximum over a square around every pixel, for values without NaN."""
    return extremes_around(values, radius)[0]


def extremes_around(values: Tensor, *radii: int) -> list[tuple[Tensor, Tensor]]:
    """`extremes_within` the first radius, the first two radii together, and so on."""
    extremes, channels = [], values.shape[1]
    if all(_opencv_for(values, radius) for radius in radii):
        low = high = values
        for radius in radii:
            low, high = smallest_within(low, radius), largest_within(high, radius, has_nan=False)
            extremes.append((low, high))
        return extremes
    both = values * constant(values, (-1.0, 1.0)).view(2, 1, 1) if channels == 1 else torch.cat((-values, values), 1)
    for radius in radii:
        both = largest_within(both, radius, has_nan=False)
        extremes.append((-both[:, :channels], both[:, channels:]))
    return extremes


def largest_within(values: Tensor, radius: int, has_nan: bool | None = None) -> Tensor:
    """Maximum of (B, C, H, W) over a square around every pixel, clipped at the border; NaN counts as the largest value.

    `has_nan`: whether there may be NaN; None = check.
    """
    if (cv2 := _opencv_for(values, radius)) and not (bool(values.sum().isnan()) if has_nan is None else has_nan):
        return _by_opencv(cv2.dilate, cv2.BORDER_REPLICATE, values, radius, radius)
    if is_pooled(values, radius):
        return pooled(F.max_pool2d, values, radius)
    for axis in (-1, -2):
        values = _largest_along(values, radius, axis)
    return values


def smallest_within(values: Tensor, radius: int) -> Tensor:
    """Minimum over a square around every pixel, for values without NaN."""
    if cv2 := _opencv_for(values, radius):
        return _by_opencv(cv2.erode, cv2.BORDER_REPLICATE, values, radius, radius)
    return -largest_within(-values, radius, has_nan=False)


def _opencv_for(values: Tensor, radius: int) -> Any:
    return opencv_for(values) if 0 < radius <= _WIDEST_BY_OPENCV else None


def largest_along_rows(values: Tensor, radius: int) -> Tensor:
    """Maximum over `radius` neighbours on both sides in a row, for values (B, C, H, W) without NaN."""
    if cv2 := _opencv_for(values, radius):
        return _by_opencv(cv2.dilate, cv2.BORDER_REPLICATE, values, 0, radius)
    if is_pooled(values, radius):
        return F.max_pool2d(values, (1, 2 * radius + 1), 1, (0, radius))
    return _largest_along(values, radius, -1)


def _by_opencv(extreme: Any, border: int, values: Tensor, down: int, along: int) -> Tensor:
    """OpenCV's `dilate` or `erode`: on a CPU a fifth of the time."""
    square = np.ones((2 * down + 1, 2 * along + 1), np.uint8)
    planes = values.reshape(-1, *values.shape[-2:]).contiguous().numpy()
    filtered = [extreme(plane, square, borderType=border) for plane in planes]
    return torch.from_numpy(np.stack(filtered) if len(filtered) > 1 else filtered[0]).view(values.shape)


def median_within(values: Tensor, radius: int) -> Tensor:
    """Median over a square of 1 or 2 pixels around every pixel of (B, C, H, W), with replicated borders, without NaN."""
    size, planes = 2 * radius + 1, values.reshape(-1, 1, *values.shape[-2:])
    if cv2 := opencv_for(values):
        medians = [cv2.medianBlur(plane, size) for plane in planes[:, 0].contiguous().numpy()]
        return torch.from_numpy(np.stack(medians)).view(values.shape)
    height, width = values.shape[-2:]
    padded, medians = F.pad(planes, (radius,) * 4, mode="replicate"), torch.empty_like(planes)
    # In strips, because all squares take the memory of 25 maps. Sorted, because torch's CUDA median varies from run to run.
    rows = max(1, _STRIP // max(1, width * len(planes)))
    for first in range(0, height, rows):
        squares = padded[..., first : first + rows + 2 * radius, :].unfold(2, size, 1).unfold(3, size, 1)
        medians[..., first : first + rows, :] = squares.flatten(4).sort(-1).values[..., size * size // 2]
    return medians.view(values.shape)


def neighbours_largest(values: Tensor, upright: bool = True) -> Tensor:
    """The maximum of each value and its neighbours in its row, or, if `upright`, in its 3x3 pixels; for values without NaN."""
    return largest_within(values, 1, has_nan=False) if upright else largest_along_rows(values, 1)


def _largest_along(values: Tensor, radius: int, axis: int) -> Tensor:
    """Maximum along an axis by doubling: windows of 1, 2, 4, ... values, and at last two overlapping windows."""
    length, size = values.shape[axis], 2 * radius + 1
    padding = (radius, radius) if axis == -1 else (0, 0, radius, radius)
    largest, reached = F.pad(values, padding, value=-torch.inf), 1
    while reached < size:
        step = min(reached, size - reached)
        count = largest.shape[axis] - step
        largest = torch.maximum(largest.narrow(axis, 0, count), largest.narrow(axis, step, count))
        reached += step
    return largest.narrow(axis, 0, length)
