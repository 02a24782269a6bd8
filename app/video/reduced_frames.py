"""Reduces the frames of a video while they are read, if no output shows them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

from torch import Tensor

from ...media import Frame
from ...model_loader import Model
from ...options.video import SIDE_BY_SIDE
from .task import VIEWS, VideoTask


class ReducedFrames:
    """Downscales each frame to a size that still yields the same maps; all later steps then process far fewer pixels.

    Frames stay unchanged if an output shows them or the field of view is set.

    Args:
        model: The model; None = the user's own depth, without reduction.
        task: Its `change` is applied first.

    Attributes:
        size: Height and width of the frames before reduction; None before the first.
    """

    def __init__(self, model: Model | None, task: VideoTask, outputs: set[str]) -> None:
        self._task = task
        shows = bool({SIDE_BY_SIDE, *VIEWS} & outputs)
        reduced = None if model is None or shows or task.fov else model.reduced_size
        self._reduced_size = cache(lambda height, width: None if reduced is None else reduced(height, width, task.size))
        self.size: tuple[int, int] | None = None

    def image(self, frame: Frame) -> Tensor:
        """A frame's transformed and reduced image (3, H, W) in [0, 1]."""
        changed = frame if self._task.change is None else replace(frame, image=partial(self._task.image, frame), reduce_planes=None)
        return changed.reduced(self._reduce)

    def _reduce(self, height: int, width: int) -> tuple[int, int] | None:
        self.size = height, width
        return self._reduced_size(height, width)
