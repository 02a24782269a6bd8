"""Reduces the frames of a video while they are read, where no output shows them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

from torch import Tensor

from ...media import Frame
from ...model_loader import Model
from ...options.video import SIDE_BY_SIDE
from .task import VIEWS, VideoTask


class ReducedFrames:
    """Brings each frame to the size from which the model's maps are the same; all later steps then read far fewer pixels.

    Frames that an output shows stay as they are, and so do all where the field of view is given.

    Args:
        model: The model; None = depth is the user's, and no frame is reduced.
        task: Its `change` is applied first.
        outputs: What is made of the frames.

    Attributes:
        size: Height and width of the frames before they are reduced; None = no frame was read yet.
    """

    def __init__(self, model: Model | None, task: VideoTask, outputs: set[str]) -> None:
        self._task = task
        shows = bool({SIDE_BY_SIDE, *VIEWS} & outputs)
        reduced = None if model is None or shows or task.fov else model.reduced_size
        self._reduced_size = cache(lambda height, width: None if reduced is None else reduced(height, width, task.size))
        self.size: tuple[int, int] | None = None

    def image(self, frame: Frame) -> Tensor:
        """A frame's image (3, H, W) in [0, 1], changed and reduced."""
        changed = frame if self._task.change is None else replace(frame, image=partial(self._task.image, frame), reduce_planes=None)
        return changed.reduced(self._reduce)

    def _reduce(self, height: int, width: int) -> tuple[int, int] | None:
        self.size = height, width
        return self._reduced_size(height, width)
