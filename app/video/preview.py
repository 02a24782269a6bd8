"""A sheet of some frames of a video, each above its outputs: to judge settings before a long run."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.files.png import write_image_png
from ...geometry.surfaces.derive import with_normals
from ...media import Frame, VideoHeader, VideoReadError
from ...model_loader import Model
from ...options.map_images import PER_IMAGE
from ...options.video import DEPTH, NORMALS, OUTPUTS, SIDE_BY_SIDE
from ...utils import resize_map
from .rendering import Renderer
from .task import VideoTask

# In pixels: a frame's longer side, the gap between frames, the sheet's width.
_LONGEST, _GAP, _WIDTH = 384, 8, 1920
_GREY = 0.5


def make_preview(model: Model | None, task: VideoTask, header: VideoHeader, count: int, path: Path, tick: Callable[[], object]) -> int:
    """Writes a PNG of `count` evenly spaced frames, each above its outputs. Every frame has a range of its own.

    Args:
        model: The model; None = the task's own depth.
        task: The video's task; none of its files are written.
        count: The number of frames, at most.
        tick: Called after each frame.

    Returns:
        The number of frames on the sheet: fewer for a short video.

    Raises:
        VideoReadError: There is no frame.
    """
    no_depth = model is not None and model.spec.quantity is None
    outputs = set(task.targets) - {SIDE_BY_SIDE} or {NORMALS if no_depth else DEPTH}
    renderer = Renderer(replace(task, clip=replace(task.clip, normalise=PER_IMAGE)), outputs)
    normals = NORMALS in outputs or no_depth
    cells = []
    for frame in _spread(task, header, count):
        if model is None:
            image, estimate = task.with_own_depth(frame)
            image = image[None]
        else:
            image = task.image(frame)[None]
            estimate = model.estimate(image, size=task.size, fov=task.fov, refine=False)  # as `estimate_video`
        made = renderer.shown(frame, image, with_normals(estimate) if normals else estimate).images
        cells.append([_small(each) for each in (image, *(made[output] for output in OUTPUTS if output in made))])
        tick()
    if not cells:
        raise VideoReadError(f"{task.source}: there is not one frame {'at that place' if task.clip.start else 'in it'}")
    write_image_png(path, _sheet(cells))
    return len(cells)


def _spread(task: VideoTask, header: VideoHeader, count: int) -> Iterator[Frame]:
    """Seeks to the middle frame of each of `count` equal parts."""
    expected = task.expected(header)
    total = sys.maxsize if expected is None else expected
    rate = task.new_rate or header.rate
    for part in range(min(count, total)):
        # A frame's exact start time: seeking past the last frame's would find none.
        begin = task.clip.start + ((2 * part + 1) * total // (2 * count) / Fraction(rate) if expected is not None else part)
        yield from _first(replace(task, clip=replace(task.clip, start=begin, frames=1, preset=None)))


def _first(task: VideoTask) -> Iterator[Frame]:
    for frame in task.read():
        yield frame
        return


def _small(images: Tensor) -> Tensor:
    """An image as (3, h, w) RGB, scaled down for the sheet."""
    height, width = images.shape[-2:]
    share = min(1.0, _LONGEST / max(height, width))
    return resize_map(images, max(1, round(height * share)), max(1, round(width * share)))[0].cpu().expand(3, -1, -1)


def _sheet(cells: list[list[Tensor]]) -> Tensor:
    """(1, 3, H, W): the columns of images, arranged in rows with grey gaps."""
    columns = [torch.cat([_framed(each, _widest(cell)) for each in cell], 1) for cell in cells]
    width, height = max(_widest(cell) for cell in cells) + _GAP, max(column.shape[-2] for column in columns) + _GAP
    across = max(1, min(len(columns), _WIDTH // width))
    across = math.ceil(len(columns) / math.ceil(len(columns) / across))
    sheet = columns[0].new_full((1, 3, math.ceil(len(columns) / across) * height + _GAP, across * width + _GAP), _GREY)
    for number, column in enumerate(columns):
        row, place = divmod(number, across)
        top, left = row * height + _GAP, place * width + _GAP
        sheet[0, :, top : top + column.shape[-2], left : left + column.shape[-1]] = column
    return sheet


def _framed(image: Tensor, width: int) -> Tensor:
    return F.pad(image, (0, width - image.shape[-1], 0, _GAP // 2), value=_GREY)


def _widest(cell: list[Tensor]) -> int:
    return max(each.shape[-1] for each in cell)
