"""Makes a video: reads, estimates, writes segment by segment, and joins them with the audio. Finished segments are reused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...geometry.estimate import Estimate, Quantity
from ...geometry.surfaces.derive import with_normals
from ...media import Frame, Segment, Sound, VideoError, VideoHeader, VideoReadError, check_sound, join_segments, read_frames
from ...media.prefetch import Loaded, WriterThread, estimated, prefetch
from ...media.sequences import is_sequence, numbered_files
from ...model_loader import Model
from ...model_loader.inference.panorama import check_perspective_model
from ...model_loader.inference.video import VideoState
from ...options.estimate import TORCH
from ...options.video import NORMALS, SIDE_BY_SIDE
from ..batch.options import Options, is_light, known_weights
from ..batch.per_image import computing_threads
from .rendering import Renderer, clip_range, from_levels
from .segment_record import Finished
from .segments import ENGINE, KEPT_DEPTH, SegmentStore, SegmentWriter
from .task import RANGED, VIEWS, VideoTask

logger = logging.getLogger(__name__)


class ReducedFrames:
    """Downscales each frame to a size that still yields the same maps; all later steps then process far fewer pixels.

    Frames stay unchanged if an output shows them or the field of view is set, and for the user's own depth (`model` None). The task's
    `change` is applied first. `size`: height and width of the frames before reduction; None before the first.
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


Tick = Callable[[int], object]


def make_video(
    model: Model | None,
    task: VideoTask,
    header: VideoHeader,
    store: SegmentStore,
    tick: Tick,
    second_tick: Tick = bool,
    *,
    check: Callable[[], object] = bool,
    joined: Callable[[Path], object] = bool,
) -> Finished:
    """Makes the outputs of a video.

    Args:
        model: The model; None = the task's own depth.
        store: The finished segments to continue; they are not removed here.
        tick: Called with the number of newly estimated frames; `second_tick` in a second pass.
        check: Called once all frames are made, before the video is written to its final path; it raises to prevent that. Not for numbered
            files.
        joined: Called with each finished video.

    Raises:
        VideoError: The source has no readable frame, or the result cannot be written.
        KeyboardInterrupt: The run was stopped; `store` can be continued.
    """
    if _has_sound(task, header):
        check_sound(task.source, header.name, next(iter(task.targets.values())).suffix)
    problem, lost = _first_pass(model, task, header, store, tick)
    by_output = {output: _segments_of(task, store, output) for output in task.targets}
    if task.in_two_passes:
        by_output |= _second_pass(task, header, store, second_tick)
    if not task.sequence:
        check()
    for output, target in task.targets.items():
        if task.sequence:
            own = {*store.numbers}
            if others := [path for number, path in numbered_files(target) if number not in own]:
                logger.warning("%s: %d files, the first %s, are of another video; remove them", target, len(others), others[0].name)
        else:
            join_segments(target, by_output[output], _sound(task, header, store, problem))
            joined(target)
    return Finished(store.numbers, problem and str(problem), lost)


def _first_pass(
    model: Model | None, task: VideoTask, header: VideoHeader, store: SegmentStore, tick: Tick
) -> tuple[VideoReadError | None, str]:
    """Writes the missing segments; returns why the source ended early, and a message about lost frames."""
    outputs = {KEPT_DEPTH, *({NORMALS} & set(task.targets))} if task.in_two_passes else set(task.targets)
    renderer = Renderer(task, outputs, resampling="bilinear" if model is None else model.resampling)
    reduced = ReducedFrames(model, task, outputs)
    loaded = Loaded(task.read(), reduced.image if model is not None else task.with_own_depth, store.done)
    threads = threads_of_pipeline(model, torch.get_num_threads())
    no_depth = model is not None and model.spec.quantity is None
    derive = with_normals if NORMALS in outputs or (SIDE_BY_SIDE in outputs and no_depth) else None
    now = _continued(task, renderer, store.state())
    if model is None:
        estimates = _own_parts(loaded, derive, threads.beside)
    else:
        asked = {"options": task.options, "size": task.size, "fov": task.fov, "derive": derive, "normals": derive is not None}
        estimate = partial(model.estimate_video, **asked, at_network_size=True, network_threads=threads.network, state=now)
        estimates = estimated(loaded, estimate, store.done, threads.beside)
    try:
        with computing_threads(threads.beside), closing(estimates) as parts:
            behind = WriterThread(threads=threads.beside)
            _write_segments(store, task, header, renderer, reduced, parts, behind, tick, now.state_dict, model)
    except VideoReadError as error:
        if store.done and loaded.problem is None:
            return error, loaded.lost(store.done)  # the first unreadable frame follows the finished segments
        raise
    if not store.done:
        raise task.no_frame(header)
    return loaded.problem, loaded.lost(store.done)


# CPU work beside a GPU is small: more threads would mostly wait for each other while occupying cores.
_BESIDE_A_GPU = 2


class Threads(NamedTuple):
    """Torch threads for the network, and for each of reading, aligning, and rendering and writing."""

    network: int
    beside: int


def threads_of_pipeline(model: Model | None, available: int) -> Threads:
    """The threads for a video: four parts run concurrently, and threads beyond the cores would wait for each other.

    They depend on the model and the machine only, so that a resumed run uses the same numbers.
    """
    beside = max(1, available // 4)
    if model is None:
        return Threads(1, beside)
    if model.device.type != "cpu":
        return Threads(1, min(_BESIDE_A_GPU, beside))
    return Threads(max(1, available - 1) if is_light(model.spec) else available, beside)


def _continued(task: VideoTask, renderer: Renderer, state: Any) -> VideoState:
    """Restores the state of the video and the renderer from the kept `state`."""
    now = VideoState(task.options)
    if state is not None:
        try:
            now.load_state_dict(state["film"])
            for name, each in renderer.running.items():
                each.load_state_dict(state["ranges"][name])
            renderer.fov = state.get("fov", renderer.fov)
        except (KeyError, TypeError, AttributeError) as error:
            raise VideoError(f"what was kept of the frames before is damaged ({error}); run without --resume to begin anew") from error
    return now


def _own_parts(
    loaded: Loaded, derive: Callable[[Estimate], Estimate] | None, threads: int
) -> Generator[tuple[list[Frame], Tensor, Estimate], None, None]:
    """Yields frames with the user's depth, in the form of `estimated`; reads ahead."""
    with closing(prefetch(loaded, threads=threads)) as frames:
        for frame, (image, estimate) in frames:
            yield [frame], image[None], estimate if derive is None else derive(estimate)


def _write_segments(
    store: SegmentStore,
    task: VideoTask,
    header: VideoHeader,
    renderer: Renderer,
    reduced: ReducedFrames,
    parts: Iterator[tuple[list[Frame], Tensor, Estimate]],
    writing: WriterThread,
    tick: Tick,
    video_state: Callable[[], Any],
    model: Model | None,
) -> None:
    """Renders and writes frames as segments, in a thread behind the estimation."""
    first, number = store.done, len(store.records)
    writer: SegmentWriter | None = None
    unfinished: list[SegmentWriter] = []
    count = 0

    def finish() -> None:
        dtype = "" if model is None else model.dtype_name  # may have changed: half precision can overflow
        writing.call(partial(_finish, unfinished, store, renderer, video_state(), dtype))

    try:
        with writing:
            for frames, images, estimate in parts:
                if writer is None:
                    writer = SegmentWriter(store, task, *_times(task, header), first, f"{number:05d}")
                    unfinished.append(writer)
                writing.call(partial(_write, writer, renderer, frames, images, estimate, reduced.size))
                count += len(frames)
                if count >= task.clip.segment:
                    finish()
                    first, number, count, writer = first + count, number + 1, 0, None
                tick(len(frames))
            if writer is not None:
                finish()
            writing.finish()
    except BaseException:
        if not writing.is_running:  # closing a video under its running encoder crashes FFmpeg; the next run removes the rest
            for each in unfinished:
                each.abandon()
        raise


def _write(
    writer: SegmentWriter, renderer: Renderer, frames: list[Frame], images: Tensor, estimate: Estimate, size: tuple[int, int] | None = None
) -> None:
    # One by one: a full-size frame stays in the CPU cache from step to step.
    for frame, image, one in zip(frames, images.split(1), estimate.split(), strict=True):
        writer.write(renderer.shown(frame, image, one, size))


def _finish(unfinished: list[SegmentWriter], store: SegmentStore, renderer: Renderer, video: Any, dtype: str) -> None:
    writer = unfinished[0]
    writer.close()
    writer.record.dtype = dtype
    fov = {"fov": renderer.fov} if renderer.needs_fov else {}
    store.add(writer.record, {"film": video, "ranges": {name: each.state_dict() for name, each in renderer.running.items()}, **fov})
    del unfinished[0]


def _times(task: VideoTask, header: VideoHeader) -> tuple[Fraction, Fraction]:
    """The result's frame rate and time base."""
    return (header.rate, header.time_base) if task.new_rate is None else (task.new_rate, 1 / task.new_rate)


def _second_pass(task: VideoTask, header: VideoHeader, store: SegmentStore, tick: Tick) -> dict[str, list[Segment]]:
    """Renders the depth kept by the first pass, now that its range is known; keeps it if the source is no longer readable."""
    black_and_white, ends = ([each for record in store.records for each in getattr(record, name)] for name in ("black_and_white", "ends"))
    renderer = Renderer(task, RANGED & set(task.targets), clip_range(black_and_white), clip_range(ends))
    if renderer.needs_fov:
        renderer.fov = store.state().get("fov", renderer.fov)
    loaded = Loaded(islice(task.read(), store.done), task.image)
    writer, shown = SegmentWriter(store, task, *_times(task, header), 0, "film"), 0
    writing = WriterThread()
    try:
        with writing as behind:
            for (frame, image), estimate in zip(loaded, _kept_depth(store), strict=False):
                behind.call(partial(_write, writer, renderer, [frame], image[None], estimate))
                tick(1)
                shown += 1
            if loaded.problem is not None:
                raise loaded.problem
            if shown != store.done:
                raise VideoReadError(f"{task.source}: {store.done} frames were read first, and {shown} now: it was changed meanwhile")
            behind.call(writer.close)
            behind.finish()
    except BaseException:
        if not writing.is_running:
            writer.abandon()
        raise
    time = Fraction(store.records[0].time) - _beginning(task, store)
    return {output: [Segment(store.folder / name, time)] for output, name in writer.record.files.items()}


def _kept_depth(store: SegmentStore) -> Iterator[Estimate]:
    for record in store.records:
        frames = read_frames(store.folder / record.files[KEPT_DEPTH], strict=True)
        try:
            for frame, bounds in zip(frames, record.ranges, strict=True):
                yield from_levels(frame.image(), bounds, record.quantity or "")
        except VideoReadError as error:  # in the segments, not the source
            raise VideoError(f"{error}; run without --resume to begin anew") from error


def _beginning(task: VideoTask, store: SegmentStore) -> Fraction:
    """The start of the result in seconds of the source: 0, unless it was trimmed."""
    return Fraction(store.records[0].time) if task.clip.start else Fraction(0)


def _segments_of(task: VideoTask, store: SegmentStore, output: str) -> list[Segment]:
    beginning = _beginning(task, store)
    records = [record for record in store.records if output in record.files]
    return [Segment(store.folder / record.files[output], Fraction(record.time) - beginning) for record in records]


def _has_sound(task: VideoTask, header: VideoHeader) -> bool:
    return bool(header.sound) and not task.sequence and not is_sequence(task.source)


def _sound(task: VideoTask, header: VideoHeader, store: SegmentStore, problem: VideoReadError | None) -> Sound | None:
    if not _has_sound(task, header):
        return None
    ends_early = task.clip.frames is not None or task.clip.end is not None or task.preset is not None or problem is not None
    return Sound(task.source, _beginning(task, store), Fraction(store.records[-1].end) if ends_early else None)


def computed_by(model: Model | None) -> dict[str, str]:
    """The runtime as settings of `SegmentStore`; empty without a model."""
    if model is None:
        return {}
    return {"dtype": model.dtype_name, "runtime": getattr(model.engine, "runtime", TORCH), ENGINE: model.runtime}


def model_settings(options: Options, task: VideoTask) -> dict[str, Any]:
    """The settings that determine a model's frames, for records, before it is loaded. Raises ValueError if it lacks a required map."""
    spec = options.spec
    check_perspective_model(spec)
    asked = task.targets.keys()
    if spec.quantity is None and (lacking := {"depth", "stereo", "parallax"} & asked):
        raise ValueError(
            f"{spec.id} gives {spec.gives}, and --what {','.join(sorted(lacking))} needs depth: choose another --model or --what"
        )
    if not spec.axes and spec.quantity is Quantity.RELATIVE_DEPTH and "normals" in asked:
        raise ValueError(f"{spec.id} gives {spec.gives}, whose slopes are not known: choose another --model for normals, or another --what")
    by = {"model": spec.id, "weights": known_weights(spec, options.weights), "dtype": options.dtype, "runtime": options.recorded_runtime}
    return {**task.settings(), **by, **options.recorded_of_family, "size": spec.size_in_record(task.size)}


def bytes_between_passes(header: VideoHeader, frames: int | None) -> int | None:
    """Upper bound of the disk space for a video's depth between two passes, in bytes."""
    return None if frames is None else 2 * header.width * header.height * frames
