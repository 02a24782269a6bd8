"""Families whose networks process several frames of a video in one window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ...geometry.estimate import Estimate
from ..base import Annotator

IsCut = Callable[[Tensor], Tensor]
"""Finds the frames of (b, 3, H, W) that begin a new shot, as (b,) bool. It is called with all frames in order."""

InChunks = Callable[[Callable[[int, int], None], int], None]
"""Calls a step with (start, stop) for all of so many frames, in batches that fit in memory."""


@dataclass
class WindowState:
    """State between the frames of a video, so that an interrupted video resumes with the same results, bit for bit.

    Attributes:
        before: What `now` returned at the interruption; empty = the video begins.
        now: Returns the tensors to keep, by name, on the CPU. `VideoAnnotator.estimate_video` sets it with every estimate that it yields;
            it is valid until the next one.
        at_once: The most frames in one call of the network so far; 0 = none.
    """

    before: Mapping[str, Tensor] = field(default_factory=dict)
    now: Callable[[], dict[str, Tensor]] = dict
    at_once: int = 0


class VideoAnnotator(Annotator, ABC):
    """A family whose network processes several frames of a video in one window."""

    @abstractmethod
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
            frames: Chunks (B, 3, H, W) float32 RGB in [0, 1], on the network's device, all of one size; each is read when it is
                needed.
            size, fov: As `estimate`.
            is_cut: Where shots begin; no state passes from one to the next. None = the video is one shot.
            in_chunks: Divides frames among calls of the network.
            state: Where to resume; `frames` are then those whose estimates were not yielded yet. None = the video begins.

        Yields:
            Estimates of one or more frames at the network's size, in order, as soon as no later frame changes them.

        Raises:
            ValueError: The state is not one of this model.
            ValueError, ArithmeticError: As `estimate`.
        """

    @abstractmethod
    def video_bytes(self, height: int, width: int) -> int:
        """Memory that a video needs beside the chunks, in the network's dtype.

        Args:
            height, width: Of the network's input.
        """


def shots(frames: Iterable[Tensor], is_cut: IsCut | None) -> Iterator[tuple[Tensor, bool]]:
    """Splits a video at its cuts.

    Args:
        frames: Chunks (B, 3, H, W) of the video.
        is_cut: Where shots begin; None = the video is one shot.

    Yields:
        A piece (b, 3, H, W), and whether a new shot begins with it.
    """
    for chunk in frames:
        cuts: list[bool] = [False] * len(chunk) if is_cut is None else is_cut(chunk).tolist()
        starts = [index for index, cut in enumerate(cuts) if cut or not index]
        for start, stop in zip(starts, [*starts[1:], len(chunk)], strict=True):
            yield chunk[start:stop], cuts[start]
