"""Frames through a video model: windows of several frames, in batches as memory allows."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ...annotators.video.frame_annotator import IsCut, VideoAnnotator, WindowState
from ...annotators.video.windows import ENCODED_AT_ONCE
from ...geometry.estimate import Estimate
from ...utils import check_images
from .memory_budget import IMAGES_TO_MAKE_ROOM_FOR, in_batches, steady_batch_size
from .network import InDtype, LoadedNetwork, rgb_on_device
from .options import InferenceOptions

logger = logging.getLogger(__name__)


def window_estimates(
    network: LoadedNetwork, frames: Iterable[Tensor], options: InferenceOptions, is_cut: IsCut | None, state: WindowState
) -> Iterator[Estimate]:
    """The estimates of a video by a video model. Memory does not grow with the video's length.

    Args:
        network: The video model.
        frames: The video in chunks (B, 3, H, W) with values in [0, 1], all of one size; each is asked for when it is needed.
        options: The options; `size` and `fov` are used.
        is_cut: Where shots begin; nothing is carried from one to the next. None = the video is one shot.
        state: The state that the video continues from, as `VideoAnnotator.estimate_video`.

    Yields:
        Estimates of one or more frames at the network's size, on its device, in order, as soon as no later frame changes them.

    Raises:
        ValueError: A chunk that `utils.check_images` refuses, or a size beyond what a network can be run at.
        MemoryError: Not even one window of frames fits.
        ArithmeticError: The network's outputs are NaN or infinite, in half precision not before other estimates were yielded.
    """
    annotator = network.annotator
    if annotator.engine is not None:
        name = getattr(annotator.engine, "words", "an engine")
        logger.warning("%s: its videos are run by torch, its images by %s", annotator.spec.id, name)
    if state.before:  # another dtype in the middle of a video would be visible
        yield from _windows(network, network.current, iter(frames), options, is_cut, state)
        return
    replayable = ReplayableFrames(frames)

    def begin(current: InDtype) -> tuple[Estimate | None, Iterator[Estimate]]:
        parts = _windows(network, current, iter(replayable), options, is_cut, state)
        return next(parts, None), parts

    first, others = network.run(begin)
    replayable.forget()
    if first is not None:
        yield first
        del first
        yield from others


@torch.no_grad()
def _windows(
    network: LoadedNetwork,
    current: InDtype,
    frames: Iterator[Tensor],
    options: InferenceOptions,
    is_cut: IsCut | None,
    state: WindowState,
) -> Iterator[Estimate]:
    """The estimates by the network in its current dtype."""
    annotator = current.annotator
    assert isinstance(annotator, VideoAnnotator)
    first = next(frames, None)
    if first is None:
        return
    height, width = first.shape[-2:]
    chunks = itertools.chain((first,), frames)
    del first  # it may be the whole video
    prepared = network.prepare(current, height, width, options.size, IMAGES_TO_MAKE_ROOM_FOR, annotator.video_bytes)
    state.at_once = steady_batch_size(prepared.fits, state.at_once or ENCODED_AT_ONCE)

    def pieces() -> Iterator[Tensor]:
        for chunk in chunks:
            check_images(chunk)
            for piece in chunk.split(state.at_once):
                yield rgb_on_device(piece, prepared.device)

    def smaller(problem: Exception, frames: int) -> int:
        state.at_once = prepared.halved(problem, frames)
        return state.at_once

    def in_chunks(step: Callable[[int, int], None], total: int) -> None:
        in_batches(step, total, state.at_once, smaller)

    yield from annotator.estimate_video(pieces(), options.size, fov=options.fov, is_cut=is_cut, in_chunks=in_chunks, state=state)


class ReplayableFrames:
    """The chunks of a video, which can be read again from the first until they are forgotten."""

    def __init__(self, chunks: Iterable[Tensor]) -> None:
        self._rest = iter(chunks)
        self._kept: list[Tensor] | None = []

    def __iter__(self) -> Iterator[Tensor]:
        yield from tuple(self._kept or ())
        for chunk in self._rest:
            if self._kept is not None:
                self._kept.append(chunk)
            yield chunk

    def forget(self) -> None:
        """Releases the chunks read so far."""
        self._kept = None
