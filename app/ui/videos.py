"""Videos of the page's queue: depth and normals in formats that a browser plays, by the code of `depth-normal video`."""

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

# The last frames must still be written, and the segments joined.
_NEARLY = 0.99


def prepared_video(job: Job, progress: Callable[[float | None], None], free_name: Callable[[], str]) -> Callable[[Model], None]:
    """Checks and plans a job's video, before a model is loaded.

    Args:
        job: The job; its files are registered once made, with an error if they end early.
        progress: Called with progress from 0 to 1, or None if the length is unknown; may raise to stop.
        free_name: Returns a name for the results if the job's own was taken meanwhile.

    Returns:
        A function that makes the videos with the model.

    Raises:
        ImportError: The video library is missing.
        ValueError, VideoError: The video cannot be read, or the model does not support videos.
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
            # The task is shared: its segments are joined to these targets.
            task.targets.update(plan_targets(job.out / usual_name(Path(free_name()), outputs), outputs))

    def make(model: Model) -> None:
        with SegmentStore(task, {**asked, **computed_by(model)}, kept=False) as store, Watch(job.stop.check):
            finished = make_video(model, task, header, store, tick, check=check, joined=lambda target: note_results(task.source, [target]))
        job.note(task.targets)
        job.error = job.in_words(finished.early)

    return make
