"""Estimates videos: temporally stable, in windows for video models, and never as a whole in memory."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...annotators.clips import ClipAnnotator, IsCut, WindowState
from ...annotators.family import Progress
from ...geometry.checks import check_map
from ...geometry.estimate import Estimate
from ...geometry.temporal.shot_cuts import CutDetector
from ...geometry.temporal.stabilization import VideoAligner
from ...geometry.valid import are_all
from ...media import prefetch
from ...options.video import VideoOptions
from ...utils import check_images
from .memory_budget import IMAGES_TO_MAKE_ROOM_FOR, in_batches, on_device_or_cpu, steady_batch_size
from .network import InDtype, LoadedNetwork, rgb_on_device
from .stages import InferenceOptions, finish, image_estimates

logger = logging.getLogger(__name__)


def window_estimates(
    network: LoadedNetwork, frames: Iterable[Tensor], options: InferenceOptions, is_cut: IsCut | None, state: WindowState
) -> Iterator[Estimate]:
    """Estimates a video by a video model, on its device, as `ClipAnnotator.estimate_video`. Memory does not grow with length.

    Args:
        network: The video model.
        frames: The video in chunks (B, 3, H, W) in [0, 1], all of one size; each is requested when needed.
        options: Uses `size` and `fov`.
        is_cut, state: As there.

    Raises:
        ValueError: A chunk that `utils.check_images` refuses, or an unsupported size.
        MemoryError: Not even one window of frames fits.
        ArithmeticError: The network's outputs are NaN or infinite; in half precision only after the first estimates were yielded.
    """
    annotator = network.annotator
    if annotator.engine is not None:
        name = getattr(annotator.engine, "words", "an engine")
        logger.warning("%s: its videos are run by torch, its images by %s", annotator.spec.id, name)
    if state.before:  # a change of dtype within a video would be visible
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
    network: LoadedNetwork, current: InDtype, frames: Iterator[Tensor], options: InferenceOptions, is_cut: IsCut | None, state: WindowState
) -> Iterator[Estimate]:
    annotator = current.annotator
    assert isinstance(annotator, ClipAnnotator)
    first = next(frames, None)
    if first is None:
        return
    height, width = first.shape[-2:]
    chunks = itertools.chain((first,), frames)
    del first  # frees the chunk, which may be the whole video
    prepared = network.prepare(current, height, width, options.size, IMAGES_TO_MAKE_ROOM_FOR, annotator.video_bytes)
    state.at_once = steady_batch_size(prepared.fits, state.at_once or annotator.at_once)

    def pieces() -> Iterator[Tensor]:
        for chunk in chunks:
            check_images(chunk)
            for piece in chunk.split(state.at_once):
                yield rgb_on_device(piece, prepared.device)

    def smaller(problem: Exception, frames: int) -> int:
        state.at_once = prepared.halved(problem, frames)
        return state.at_once

    def in_chunks(step: Callable[[int, int], None], total: int) -> None:
        for _ in in_batches(step, total, state.at_once, smaller):
            pass

    yield from annotator.estimate_video(pieces(), options.size, fov=options.fov, is_cut=is_cut, in_chunks=in_chunks, state=state)


class ReplayableFrames:
    """Iterates over a video's chunks, again from the first one until `forget` is called."""

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


_FEW_PIXELS = 2**19
"""Maps of at most this many pixels are aligned on the CPU: thousands of kernel launches per frame would take a GPU as long."""
_DAMAGED = "what was kept of the frames before is damaged"


class VideoState:
    """The state of a video between frames, from which a stopped video continues bit for bit; `options` as in the aligner."""

    def __init__(self, options: VideoOptions | None = None) -> None:
        self.windows = WindowState()
        self._aligner = VideoAligner(options)
        self._before: Any = None

    def state_dict(self) -> dict[str, Any]:
        """The state after the last yielded estimate: tensors and numbers in dictionaries and tuples."""
        return {"aligner": self._aligner.state_dict(), "windows": self.windows.now(), "at_once": self.windows.at_once}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from another's `state_dict`, with the same model and options, on any device.

        Raises:
            ValueError: An invalid state; some faults only show at the first estimate.
        """
        before, windows, at_once = (state.get(name) for name in ("aligner", "windows", "at_once"))
        if not (isinstance(before, Mapping) and isinstance(windows, Mapping) and isinstance(at_once, int) and at_once >= 0):
            raise ValueError(_DAMAGED)
        self._before, self.windows = before, WindowState(before=windows, at_once=at_once)

    def aligner(self, device: torch.device) -> VideoAligner:
        """The aligner, in the state that was loaded, on a device.

        Raises:
            ValueError: That state is invalid.
        """
        if self._before is not None:
            try:
                self._aligner.load_state_dict(_moved(self._before, device))
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{_DAMAGED} ({error})") from error
            self._before = None
        return self._aligner


def _moved(state: Any, device: torch.device) -> Any:
    if isinstance(state, Mapping):
        return {name: _moved(each, device) for name, each in state.items()}
    if isinstance(state, list | tuple):
        return tuple(_moved(each, device) for each in state)
    return state.to(device) if isinstance(state, Tensor) else state


def estimate_frames(
    network: LoadedNetwork,
    chunks: Iterable[Tensor],
    video: VideoOptions,
    options: InferenceOptions,
    progress: Progress | None,
    state: VideoState,
) -> Iterator[Estimate]:
    """Yields the finished estimates of a video's frames, in order; see `Model.estimate_video`.

    Video models process windows of frames, other models single frames. Uses `size`, `fov`, `derive`, `normals`, `at_network_size` and
    `network_threads` of the options.
    """
    frames, done = _Frames(chunks), 0
    if isinstance(network.annotator, ClipAnnotator):
        parts = window_estimates(network, frames, options, CutDetector().push if video.cuts else None, state.windows)
    else:
        parts = _aligned_frames(network, frames, options, state)
    for part in parts:
        height, width = (part.height, part.width) if options.at_network_size else (frames.height, frames.width)
        done += part.batch
        yield _finished(part, options, (height, width), network, frames.device)
        if progress is not None:
            progress(done, frames.read)


def _finished(part: Estimate, options: InferenceOptions, size: tuple[int, int], network: LoadedNetwork, device: torch.device) -> Estimate:
    """The finished estimate on a device. Estimates aligned on the CPU are enlarged on the network's device."""
    mask, resampling = part.mask, network.annotator.resampling
    if options.derive is not None or mask is None or not are_all(mask):
        stays = options.derive is None and size == (part.height, part.width)
        finished = on_device_or_cpu(
            lambda where: finish(part.to(where), options, *size, resampling),
            part.device if stays else network.device,
            "the maps are enlarged",
        )
        return finished.to(device)
    # With a mask, resizing would synchronise the GPU to look for holes.
    whole = _finished(replace(part, mask=None), options, size, network, device)
    return replace(whole, mask=mask.new_ones(part.batch, 1, *size, device=device))


def _aligned_frames(network: LoadedNetwork, frames: _Frames, options: InferenceOptions, state: VideoState) -> Iterator[Estimate]:
    """Estimates single frames at the network's size and aligns them with those before."""

    def raw() -> Generator[tuple[Tensor, Estimate], None, None]:
        for chunk in frames:
            done = 0
            for part in image_estimates(network, check_images(chunk), options, fetched=_FEW_PIXELS):
                if not options.normals and part.depth is not None:
                    part = replace(part, normals=None)
                yield chunk[done : done + part.batch], part
                done += part.batch

    ahead = options.network_threads
    with closing(prefetch(raw(), threads=ahead) if ahead else raw()) as parts:
        for chunk, part in parts:
            yield state.aligner(part.device).push(chunk, part)


class _Frames:
    """The chunks of a video.

    Attributes:
        read: Number of frames read so far.
        height, width: Of every frame, once one is read.
        device: Of the last chunk.
    """

    def __init__(self, chunks: Iterable[Tensor]) -> None:
        self._chunks = chunks
        self.read = self.height = self.width = 0
        self.device = torch.device("cpu")

    def __iter__(self) -> Iterator[Tensor]:
        for chunk in self._chunks:
            check_map(chunk, 3, "frames")
            height, width = chunk.shape[-2:]
            if self.read and (height, width) != (self.height, self.width):
                raise ValueError(
                    f"the video changes from {self.width}x{self.height} to {width}x{height} pixels after {self.read} frames; "
                    "resize all frames to one size, or start a new video there"
                )
            self.height, self.width, self.device = height, width, chunk.device
            self.read += chunk.shape[0]
            yield chunk
