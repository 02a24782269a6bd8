"""Videos of the page's queue: depth and normals as videos that a browser plays, as `depth-normal video` makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...media.library import pyav
from ...model_loader import Model
from ...model_loader.comfy.interrupt import Watch
from ...options.video import ClipOptions
from ..batch.overwriting import note_results
from ..video.run import computed_by, make_video, model_settings
from ..video.segments import SegmentStore
from ..video.task import check_targets, plan_targets, usual_name, video_task
from .job import Job, video_outputs

# The last frames are still to be written, and the segments to be joined.
_NEARLY = 0.99


def prepared_video(job: Job, progress: Callable[[float | None], None], free_name: Callable[[], str]) -> Callable[[Model], None]:
    """Looks at the video of a job, before a model is loaded.

    Args:
        job: Its source and options. Its files are noted when they are made, and as its error why they end before the video's end.
        progress: Called with the share that is done, or None where the length is not known; may raise to stop.
        free_name: Gives a name for the results where the job's own was taken meanwhile.

    Returns:
        What makes the videos by the model.

    Raises:
        ImportError: The library that reads videos is missing.
        ValueError, VideoError: The video cannot be read, or the model gives nothing of videos.
    """
    pyav()
    outputs = video_outputs(job.options.spec)
    job.out.mkdir(parents=True, exist_ok=True)
    task = video_task(job.upload(), lambda name: job.out / name, ClipOptions(what=tuple(outputs)), size=job.options.size)
    asked = model_settings(job.options, task)
    header = task.checked_header()
    job.size = header.width, header.height
    expected, done = task.expected(header), 0

    def tick(frames: int) -> None:
        nonlocal done
        done += frames
        progress(min(_NEARLY, done / expected) if expected else None)

    def check() -> None:
        try:
            check_targets(task.source, task.targets, made_of=task.source)
        except FileExistsError:
            # These are the task's own, where its segments are joined next.
            task.targets.update(plan_targets(job.out / usual_name(Path(free_name()), outputs), outputs))

    def make(model: Model) -> None:
        with SegmentStore(task, {**asked, **computed_by(model)}, kept=False) as store, Watch(job.stop.check):
            finished = make_video(model, task, header, store, tick, check=check, joined=lambda target: note_results(task.source, [target]))
        job.note(task.targets)
        job.error = job.in_words(finished.early)

    return make
