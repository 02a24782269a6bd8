"""Videos of the page's queue: depth and normals as videos that a browser plays, as `depth-normal video` makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...media import VideoHeader
from ...model_loader import Model
from ...model_loader.comfy.interrupt import Watch
from ...options.video import VideoOptions
from ..batch.options import known_weights
from ..batch.overwriting import note_results
from ..video.run import computed_by, make_video
from ..video.segments import SegmentStore
from ..video.task import VideoTask, check_targets, chosen_codec, plan_targets, usual_name
from .job import Job, video_outputs

# The last frames are still to be written, and the segments to be joined.
_NEARLY = 0.99


def run_video(
    job: Job, model: Model, progress: Callable[[float | None], None], free_name: Callable[[], str]
) -> tuple[dict[str, Path], str]:
    """Makes the videos of a job.

    Args:
        job: Its source and options.
        model: The model, loaded.
        progress: Called with the share that is done, or None where the length is not known; may raise to stop.
        free_name: Gives a name for the results where the job's own was taken meanwhile.

    Returns:
        The files, by what they show; and why they end before the video's end, or nothing.

    Raises:
        ImportError: The library that reads videos is missing.
        VideoError: The video cannot be read, or the result not be written.
    """
    spec, options = job.options.spec, job.options
    outputs = video_outputs(spec)
    out = job.out / usual_name(job.upload(), outputs)
    job.out.mkdir(parents=True, exist_ok=True)
    targets = plan_targets(out, outputs)
    steady = VideoOptions()
    task = VideoTask(job.source, targets, chosen_codec(out, None, outputs), options=steady, size=options.size)
    header: VideoHeader = task.header()
    job.size = header.width, header.height
    expected, done = task.expected(header), 0

    def tick(frames: int) -> None:
        nonlocal done
        done += frames
        progress(min(_NEARLY, done / expected) if expected else None)

    def check() -> None:
        try:
            check_targets(job.source, targets, made_of=job.source)
        except FileExistsError:
            # These are the task's own, where its segments are joined next.
            targets.update(plan_targets(job.out / usual_name(Path(free_name()), outputs), outputs))

    def joined(target: Path) -> None:
        note_results(job.source, [target])

    asked = {"model": spec.id, "weights": known_weights(spec, None), **computed_by(model)}
    with SegmentStore(task, task.settings() | asked, False) as store:
        try:
            with Watch(job.stop.check):
                finished = make_video(model, task, header, store, tick, check=check, joined=joined)
        finally:
            store.remove()
    return dict(task.targets), job.in_words(finished.early)
