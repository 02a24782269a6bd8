"""What a family does that estimates the frames of a video together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..geometry.estimate import Estimate
from .base import Annotator

IsCut = Callable[[Tensor], Tensor]
"""Detects the frames of (b, 3, H, W) that begin a new shot, as (b,) bool. Called with all frames in order."""

InChunks = Callable[[Callable[[int, int], None], int], None]
"""Calls a step with (start, stop) over a number of frames, in batches that fit in memory."""


@dataclass
class WindowState:
    """State between the frames of a video; with it an interrupted video resumes bit for bit."""

    before: Mapping[str, Tensor] = field(default_factory=dict)  # the result of `now` at the interruption; empty = a new video
    # returns the tensors to save, by name, on the CPU. `estimate_video` sets it with every estimate; valid until the next one.
    now: Callable[[], dict[str, Tensor]] = dict
    at_once: int = 0  # the largest batch of frames so far; 0 = none


class ClipAnnotator(Annotator):
    """A family whose frames depend on each other; each estimates images, too."""

    at_once: int
    """Number of frames encoded per call, if they fit."""

    def estimate_video(
        self,
        frames: Iterable[Tensor],
        size: int | None,
        *,
        fov: float,
        is_cut: IsCut | None,
        in_chunks: InChunks,
        state: WindowState | None = None,
    ) -> Iterator[Estimate]:
        """Estimates a video.

        Args:
            frames: Chunks (B, 3, H, W) float32 RGB in [0, 1], on the network's device, all of one size; read lazily.
            size, fov: As in `estimate`.
            is_cut: Detects the start of a shot; no state carries over. None = a single shot.
            in_chunks: Splits frames into network calls.
            state: Where to resume; `frames` are then those without a yielded estimate. None = a new video.

        Yields:
            Estimates of one or more frames at the network's size, in order, as soon as they are final.

        Raises:
            ValueError: The state is not of this model, or as for `estimate`.
            ArithmeticError: As for `estimate`.
        """
        raise NotImplementedError

    def video_bytes(self, height: int, width: int) -> int:
        """A video's memory besides its chunks, by the network's input size and in its dtype."""
        raise NotImplementedError
