"""Converts videos to the frame rates, sizes and frame counts of `options.video`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import EllipsisType
from typing import TypeAlias

from torch import Tensor

from ..utils import resize_image
from .library import VideoError
from .read import Frame

logger = logging.getLogger(__name__)

Window: TypeAlias = tuple[EllipsisType, slice, slice]
"""A crop of a map (..., H, W)."""


def until(frames: Iterator[Frame], end: Fraction) -> Iterator[Frame]:
    """Yields the frames before a time; the last one is not shown longer."""
    for frame in frames:
        if frame.time >= end:
            return
        yield replace(frame, duration=min(frame.duration, end - frame.time))


def at_rate(frames: Iterator[Frame], rate: Fraction) -> Iterator[Frame]:
    """Resamples a video to a constant rate from the first frame's time on by repeats and drops, without blending; duration is kept."""
    step = 1 / rate
    beginning: Fraction | None = None
    before: Frame | None = None
    count = 0
    for frame in frames:
        beginning = frame.time if beginning is None else beginning
        while before is not None and beginning + count * step < frame.time:
            yield _at(before, beginning + count * step, step)
            count += 1
        before = frame
    if before is not None and beginning is not None:
        end = before.time + (before.duration or step)
        while beginning + count * step < end:
            yield _at(before, beginning + count * step, step)
            count += 1


def _at(frame: Frame, time: Fraction, duration: Fraction) -> Frame:
    return replace(frame, time=time, duration=duration, number=None)


def in_groups(frames: Iterator[Frame], group: int) -> Iterator[Frame]:
    """Truncates a video to a multiple of `group` frames plus one, and logs how many are dropped."""
    waiting: list[Frame] = []
    for number, frame in enumerate(frames):
        waiting.append(frame)
        if number % group == 0:
            yield from waiting
            waiting = []
    if waiting:
        logger.info("left out at the video's end, for a multiple of %d frames and one more: %d", group, len(waiting))


def fitted_size(size: tuple[int, int], width: int | None, height: int | None, side: int = 2) -> tuple[int, int]:
    """The size of `fitted`'s result for images of `size`; sizes are (width, height)."""
    if width is not None and height is not None:
        return width, height
    scale = height / size[1] if height is not None else (width or size[0]) / size[0]
    columns, rows = (max(side, round(length * scale / side) * side) for length in size)
    return width or columns, height or rows


def fitted(image: Tensor, width: int | None, height: int | None, side: int = 2) -> Tensor:
    """Scales an image (C, H, W) to cover a size in pixels, and crops the excess evenly.

    A side that is None follows from the aspect ratio; both are the image's own, rounded to a multiple of `side`.
    """
    rows, columns = image.shape[-2:]
    larger, middle = fitted_window((columns, rows), width, height, side)
    scaled = image if larger == (rows, columns) else resize_image(image[None], *larger)[0]
    return scaled[middle]


def fitted_window(size: tuple[int, int], width: int | None, height: int | None, side: int = 2) -> tuple[tuple[int, int], Window]:
    """The (height, width) to which `fitted` scales images of `size` (width, height), and the window that it crops."""
    columns, rows = size
    width, height = fitted_size(size, width, height, side)
    scale = max(width / columns, height / rows)
    larger = max(height, round(rows * scale)), max(width, round(columns * scale))
    return larger, _middle(larger, height, width)


def _middle(size: tuple[int, int], height: int, width: int) -> Window:
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return ..., slice(top, top + height), slice(left, left + width)


def cropped(image: Tensor, side: int) -> Tensor:
    """Crops the middle of an image (C, H, W), without resampling, to multiples of `side`; VideoError if it is smaller than that."""
    return image[cropped_window(image.shape[-2], image.shape[-1], side)]


def cropped_window(height: int, width: int, side: int) -> Window:
    """The window of `cropped` for an image of this size; raises the same."""
    if min(height, width) < side:
        raise VideoError(f"the video has {width}x{height} pixels, and {side} on each side are the least of the preset")
    return _middle((height, width), height // side * side, width // side * side)
