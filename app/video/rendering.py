"""Renders a video's estimates: depth, normals, each frame beside its depth, or other viewpoints; and sheets to judge settings by."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.estimate import Estimate, Quantity
from ...geometry.files.packed_maps import preview_size
from ...geometry.files.png import write_image_png
from ...geometry.images.render import default_depth_range, normals_to_image, resized_depth_image
from ...geometry.kinds import ZERO_AT_CAMERA
from ...geometry.levels import FAR_AND_NEAR_END, depth_to_nearness, measure_range_of_most
from ...geometry.surfaces.derive import with_normals
from ...geometry.temporal.ranges import RunningRange
from ...geometry.views.parallax import parallax_of_clip
from ...geometry.views.stereo import compose, disparity_range, stereo_pair
from ...geometry.views.vr import HEADSET_EYE_SIZE, photo_fov, vr_pair
from ...media import Frame, VideoHeader
from ...model_loader import Model
from ...options.map_images import PER_IMAGE, RUNNING
from ...options.video import DEPTH, NORMALS, OUTPUTS, PARALLAX, SIDE_BY_SIDE, STEREO
from ...options.views import VR_LAYOUTS
from ...utils import resize_map
from .segments import KEPT_DEPTH, Shown
from .task import VIEWS, VideoTask

_GREY = 0.5

Ends: TypeAlias = tuple[float, float]

# Level 0 marks invalid pixels, so that valid depth has these many levels.
_TOP = 65535
_STEPS = _TOP - 1


class Renderer:
    """Renders the images of a video, frame by frame.

    Args:
        black_and_white: The video's `default_depth_range`, in a second pass.
        ends: The video's far and near end for stereo and parallax, in a second pass.
        resampling: The upsampling mode of estimates at the network's size, as in `Estimate.resized`.

    Attributes:
        running: The running ranges by their use, if the task asks for them.
        fov: Field of view along the longer side in degrees, where VR180 or a moved camera need it; taken from the first frame and constant.
            0 = unknown yet.
    """

    def __init__(
        self,
        task: VideoTask,
        outputs: set[str],
        black_and_white: Ends | None = None,
        ends: Ends | None = None,
        resampling: str = "bilinear",
    ) -> None:
        self._resampling = resampling
        self._outputs, self._range, self._ends = outputs, black_and_white, ends
        self._near = task.clip.near
        self._writes_exr, self._layout, self._stereo, self._move = task.codec == "exr", task.clip.layout, task.stereo, task.move
        self._keeps_ends = bool(VIEWS & set(task.targets))
        self.for_headsets = STEREO in task.targets and task.clip.layout in VR_LAYOUTS
        self.needs_fov = self.for_headsets or PARALLAX in task.targets
        self.fov = task.fov
        self.running = {DEPTH: RunningRange(measure_range_of_most), STEREO: RunningRange()} if task.clip.normalise == RUNNING else {}

    def shown(self, frame: Frame, image: Tensor, found: Estimate, size: tuple[int, int] | None = None) -> Shown:
        """Renders the next frame; raises ValueError if the model lacks a required map.

        Args:
            image: (1, 3, H, W) in [0, 1]; smaller than the frame if no output shows it.
            found: Its estimate, at the frame's size or the network's. Ranges are measured before upsampling, which is faster.
            size: Height and width of the frame; None = the image's.
        """
        height, width = size or (image.shape[-2], image.shape[-1])
        enlarged = cache(lambda: found.resized(height, width, self._resampling))  # lazy: a depth image does not need it
        if self.needs_fov and not self.fov:
            self.fov = photo_fov(enlarged())
        made: dict[str, Tensor] = {}
        if not self._writes_exr:
            if {DEPTH, SIDE_BY_SIDE} & self._outputs:
                made |= self._depth_images(image, found, (height, width))
            if NORMALS in self._outputs:
                made[NORMALS] = _normals_image(enlarged())
            if VIEWS & self._outputs:
                made |= self._views(frame, image, enlarged(), found)
        elif NORMALS in self._outputs:
            _check_normals(found)
        ranges, black_and_white, ends = [], [], []
        if KEPT_DEPTH in self._outputs:
            made[KEPT_DEPTH], ranges = to_levels(enlarged())
            black_and_white = _pairs(default_depth_range(found))
            if self._keeps_ends:
                ends = _pairs(disparity_range(found))
        return Shown(frame, made, enlarged() if self._writes_exr else found, ranges, black_and_white, ends)

    def _depth_images(self, image: Tensor, found: Estimate, size: tuple[int, int]) -> dict[str, Tensor]:
        if found.depth is None and DEPTH not in self._outputs:
            beside = _normals_image(found.resized(*size, self._resampling))
            return {SIDE_BY_SIDE: torch.cat((image, beside), 3)}
        ends = default_depth_range(found, self._measure)
        depth = resized_depth_image(found, *size, ends, self._resampling, self._near)
        made = {DEPTH: depth} if DEPTH in self._outputs else {}
        if SIDE_BY_SIDE in self._outputs:
            made[SIDE_BY_SIDE] = torch.cat((image, depth.expand_as(image)), 3)
        return made

    def _measure(self, nearness: Tensor, valid: Tensor, percentiles: tuple[float, float]) -> tuple[Tensor, Tensor]:
        if self.running:
            return self.running[DEPTH].update(nearness, valid, percentiles)
        if self._range is None:
            return measure_range_of_most(nearness, valid, percentiles)
        low, high = nearness.new_tensor(self._range).view(2, 1, 1, 1, 1)
        return low, high

    def _views(self, frame: Frame, image: Tensor, found: Estimate, measured: Estimate) -> dict[str, Tensor]:
        ends: Any = self._ends
        if self.running:
            depth, quantity, valid = measured.known_depth()
            nearness = depth_to_nearness(depth.where(valid, 1), quantity, as_disparity=quantity in ZERO_AT_CAMERA)
            ends = self.running[STEREO].update(nearness, valid, FAR_AND_NEAR_END)
        made = {}
        if STEREO in self._outputs:
            made[STEREO] = self._stereo_image(image, found, ends)
        if PARALLAX in self._outputs:
            (made[PARALLAX],) = parallax_of_clip(image, found, self._move, [frame.time], ends, self.fov)
        return made

    def _stereo_image(self, image: Tensor, found: Estimate, ends: Any) -> Tensor:
        if self.for_headsets:
            options = replace(self._stereo, eye_size=self._stereo.eye_size or HEADSET_EYE_SIZE)
            return compose(vr_pair(image, found, self._layout, options, ends, self.fov), self._layout)
        return compose(stereo_pair(image, found, self._stereo, ends), self._layout, self._stereo.anaglyph)


def _normals_image(found: Estimate) -> Tensor:
    return normals_to_image(_check_normals(found), source=found.axes, mask=found.mask)


def _check_normals(found: Estimate) -> Tensor:
    """The estimate's normals."""
    if found.normals is None:
        raise ValueError("the model gives depth of unknown scale and no normals; choose another model, or ask for depth alone")
    return found.normals


def _pairs(ends: tuple[Tensor, Tensor]) -> list[Ends]:
    low, high = ends
    return list(zip(low.flatten().tolist(), high.flatten().tolist(), strict=True))


def to_levels(found: Estimate) -> tuple[Tensor, list[Ends]]:
    """Quantises depth to 16 bits over each frame's own range; metric depth as 1 / depth.

    Returns (B, 1, H, W) levels / 65535, 0 = invalid; and each frame's minimum and maximum, (0, 0) without valid pixels.
    """
    depth, quantity, valid = found.known_depth()
    values = 1 / depth if quantity in ZERO_AT_CAMERA else depth
    low = values.where(valid, torch.inf).amin((1, 2, 3))
    high = values.where(valid, -torch.inf).amax((1, 2, 3))
    has_range = high >= low
    low, high = low.where(has_range, 0), high.where(has_range, 0)
    span = (high - low).where(high > low, 1).view(-1, 1, 1, 1)
    share = (values.where(valid, 0) - low.view(-1, 1, 1, 1)) / span
    levels = torch.where(valid, (share * _STEPS).round().clamp(0, _STEPS) + 1, 0) / _TOP
    return levels, list(zip(low.tolist(), high.tolist(), strict=True))


def from_levels(image: Tensor, bounds: Ends, quantity: str) -> Estimate:
    """Inverts `to_levels` for a decoded frame (3, H, W) and its (minimum, maximum), within half a 65534th of the coded range."""
    levels = (image[None, :1].double() * _TOP).round()
    low, high = bounds
    values = (low + (levels - 1).clamp(min=0) / _STEPS * (high - low)).float()
    valid = levels > 0
    return Estimate(1 / values.where(valid, 1) if quantity in ZERO_AT_CAMERA else values, Quantity(quantity), mask=valid)


def clip_range(ranges: list[Ends]) -> Ends:
    """The overall minimum and maximum of frame ranges; widened if constant."""
    ranges = [each for each in ranges if math.isfinite(each[0]) and math.isfinite(each[1])] or [(0.0, 0.0)]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return low, high if high > low else low + max(1e-6, abs(low) * 1e-6)


# In pixels: a frame's longer side, the gap between frames, the sheet's width.
_LONGEST, _GAP, _WIDTH = 384, 8, 1920


def make_preview(model: Model | None, task: VideoTask, header: VideoHeader, count: int, path: Path, tick: Callable[[], object]) -> int:
    """Writes a PNG of `count` evenly spaced frames, each above its outputs. Every frame has a range of its own.

    `model` None = the task's own depth; none of the task's files are written; `tick` is called after each frame. Returns the number of
    frames on the sheet, fewer for a short video; raises VideoReadError if there is none.
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
        raise task.no_frame(header)
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
        yield from islice(replace(task, clip=replace(task.clip, start=begin, frames=1, preset=None)).read(), 1)


def _small(images: Tensor) -> Tensor:
    """An image as (3, h, w) RGB, scaled down for the sheet."""
    height, width = images.shape[-2:]
    return resize_map(images, *preview_size(height, width, _LONGEST))[0].cpu().expand(3, -1, -1)


def _sheet(cells: list[list[Tensor]]) -> Tensor:
    """(1, 3, H, W): the columns of images, arranged in rows with grey gaps."""
    padded = ([F.pad(each, (0, _widest(cell) - each.shape[-1], 0, _GAP // 2), value=_GREY) for each in cell] for cell in cells)
    columns = [torch.cat(cell, 1) for cell in padded]
    width, height = max(_widest(cell) for cell in cells) + _GAP, max(column.shape[-2] for column in columns) + _GAP
    across = max(1, min(len(columns), _WIDTH // width))
    across = math.ceil(len(columns) / math.ceil(len(columns) / across))
    sheet = columns[0].new_full((1, 3, math.ceil(len(columns) / across) * height + _GAP, across * width + _GAP), _GREY)
    for number, column in enumerate(columns):
        row, place = divmod(number, across)
        top, left = row * height + _GAP, place * width + _GAP
        sheet[0, :, top : top + column.shape[-2], left : left + column.shape[-1]] = column
    return sheet


def _widest(cell: list[Tensor]) -> int:
    return max(each.shape[-1] for each in cell)
