"""The page's queue of dropped files, and the one thread that processes them.

Not a `batch.run.Run`, which has a fixed plan and one stop event: here files come, go, are cancelled and retried one by one, and the page
reads each one's state at any moment. Each job is a run of one item by the commands' engine: `batch.local_engine.process` for an image,
`video.run` for a video, `batch.failures` for errors.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...geometry.estimate import Estimate
from ...media.library import pyav
from ...model_loader import Model
from ...model_loader.comfy.interrupt import Watch
from ...model_loader.weights.find import find_weights
from ...options.video import ClipOptions
from ..batch.failures import Failure
from ..batch.local_engine import InFlight, process
from ..batch.name_locks import folded
from ..batch.options import Options
from ..batch.outputs import check_writes
from ..batch.overwriting import note_results
from ..batch.per_image import write
from ..video.run import computed_by, make_video, model_settings
from ..video.segments import SegmentStore
from ..video.task import check_targets, plan_targets, usual_name, video_task
from .downloads import Downloads
from .job import WRITES, Job, free_name, video_outputs
from .previews import Previews
from .refusals import Refusal, full_disk_said
from .tasks import CANCELLED, DOWNLOADING, FAILED, LOADING, RUNNING, WAITING, Cancellation, TaskQueue

MOST_JOBS = 5000
# The last frames of a video must still be written, and the segments joined.
_NEARLY = 0.99
_ENDINGS = ("_depth.png", "_normals.png", ".npz", ".exr", ".glb", ".html", "_depth.mp4", "_normals.mp4")


class JobQueue(TaskQueue[Job]):
    """One server's jobs for all tabs; `version` counts changes. `uploads`: a folder that `close` removes; `device`: as of `load_model`."""

    def __init__(self, out: Path, uploads: Path, device: str = "auto") -> None:
        self.downloads, self.previews = Downloads(self.changed), Previews()
        self.out, self.uploads, self._device = out, uploads, device
        self.version = 1
        super().__init__("depth-normal ui")

    def changed(self) -> None:
        """Registers a change."""
        with self._condition:
            self.version += 1
            self._condition.notify_all()

    def as_json(self) -> dict[str, Any]:
        """The state that the page shows, JSON-serialisable."""
        with self._condition:
            jobs = [job.as_json() for job in self._tasks.values()]
            return {"version": self.version, "jobs": jobs, "downloads": self.downloads.as_json(), "out": str(self.out)}

    @contextmanager
    def upload_folder(self, name: str) -> Iterator[Path]:
        """Creates a folder for an upload of this name; removes it if the block fails. Raises Refusal if the list or the disk is full."""
        with self._condition:
            if len(self._tasks) >= MOST_JOBS:
                raise Refusal(429, "the list holds {0} files, the most that it takes; remove those that are done", MOST_JOBS)
            uploads = self.uploads
            with full_disk_said(name, uploads.parent):
                if not _is_own_folder(uploads):
                    # The system's temporary folder was cleaned, and somebody else may have taken the old name.
                    uploads = self.uploads = Path(tempfile.mkdtemp(prefix=f"{uploads.name}-", dir=uploads.parent))
                folder = uploads / secrets.token_hex(8)
                folder.mkdir()
        try:
            with full_disk_said(name, uploads):
                yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def add(self, path: Path, name: str, options: Options, size: tuple[int, int] | None, typed: str = "") -> Job:
        """Queues an uploaded file, alone in a folder of `upload_folder`; `name` is from `clean_name`, `size` (width, height)."""
        with self._condition:
            job = Job(path.parent.name, name, path, options, self.out, size, typed=typed)
            self._settle_name(job)
            self._tasks[job.id] = job
        self.changed()
        return job

    def _settle_name(self, job: Job) -> bool:
        """Renames the upload, and so its results, if the name is taken; returns whether it was."""
        with self._condition:
            source = job.source.with_name(self._free_name(job))
            if source == job.source:
                return False
            job.source = job.upload().replace(source)
        return True

    def _free_name(self, job: Job) -> str:
        with self._condition:
            taken = {folded(each.source.stem) for each in self._tasks.values() if each.id != job.id}
            return free_name(job.name, taken, self.out, _ENDINGS)

    def cancel(self, job_id: str | None = None) -> None:
        """Cancels an unfinished job; None = all. The page sees it at once, the worker stops at its next step."""
        jobs = [self.get(job_id)] if job_id else list(self._tasks.values())
        with self._condition:
            for job in jobs:
                job.end(CANCELLED)
        self.changed()

    def retry(self, job_id: str) -> None:
        """Moves a failed or cancelled job to the end of the queue."""
        job = self.get(job_id)
        with self._condition:
            if job.state in (FAILED, CANCELLED):
                # A new cancellation: the worker may not have seen the old one yet.
                again = replace(job, state=WAITING, share=None, error="", seconds=0.0, stop=Cancellation())
                del self._tasks[job.id]
                self._tasks[job.id] = again
        self.changed()

    def remove(self, job_id: str) -> None:
        """Removes a job and its upload; its results stay."""
        job = self.get(job_id)
        self.cancel(job_id)
        with self._condition:
            self._tasks.pop(job_id, None)
        self.previews.forget(job)
        shutil.rmtree(job.source.parent, ignore_errors=True)
        self.changed()

    def close(self) -> None:
        self.cancel()
        self.downloads.cancel()
        self.previews.close()
        super().close()
        shutil.rmtree(self.uploads, ignore_errors=True)

    def _attempt(self, job: Job, /) -> None:
        def end(state: str, error: str) -> None:
            with self._condition:
                job.end(state, error)
            self.changed()

        job.attempt(partial(self._run, job), end)

    def _run(self, job: Job) -> Failure | None:
        """Makes the results of a job; returns why an image failed."""
        options = job.options
        self._settle_name(job)  # another server may have taken the name meanwhile
        if job.is_video:
            make = self._prepared_video(job)
        else:
            check_writes(WRITES, options)
            make = partial(self._make_image, job)
        self._fetch(job)
        self._set(job, LOADING)
        model = options.load(self._device)
        job.stop.check()
        self._set(job, RUNNING)
        return make(model)

    def _fetch(self, job: Job) -> None:
        """Downloads missing weights of the job's model, and waits for them."""
        if all(file.bundled or find_weights(file) for file in job.options.spec.files):
            return
        self._set(job, DOWNLOADING)
        self.downloads.wait(self.downloads.start(job.options.spec.id), job.stop.check)

    def _make_image(self, job: Job, model: Model) -> Failure | None:
        def finish(item: InFlight, estimate: Estimate) -> None:
            job.stop.check()
            job.size = item.image.shape[-1], item.image.shape[-2]
            job.quantity = None if estimate.quantity is None or estimate.depth is None else estimate.quantity.value
            try:
                write(job.outputs, estimate, job.options, item.image, item.source_mark)
            except FileExistsError:
                if not self._settle_name(job):
                    raise
                write(job.outputs, estimate, job.options, item.image, item.source_mark)

        job.upload()
        ((_, failure),) = process(model, [job.outputs], job.options, finish, watch=partial(Watch, job.stop.check))
        if failure is None:
            job.note({kind: path for kind in WRITES if (path := job.outputs.path(kind)).exists()})
        return failure

    def _prepared_video(self, job: Job) -> Callable[[Model], None]:
        """Checks and plans a job's video, before a model is loaded; returns a function that makes the videos with the model.

        Raises ImportError if the video library is missing; ValueError or VideoError if the video cannot be read, or the model does not
        support videos.
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
            job.stop.check()
            done += frames
            share = min(_NEARLY, done / expected) if expected else None
            if share != job.share:
                job.share = share
                self.changed()

        def check() -> None:
            try:
                check_targets(task.source, task.targets, made_of=task.source)
            except FileExistsError:
                # The task is shared: its segments are joined to these targets.
                task.targets.update(plan_targets(job.out / usual_name(Path(self._free_name(job)), outputs), outputs))

        def make(model: Model) -> None:
            with SegmentStore(task, {**asked, **computed_by(model)}, kept=False) as store, Watch(job.stop.check):
                finished = make_video(
                    model, task, header, store, tick, check=check, joined=lambda target: note_results(task.source, [target])
                )
            job.note(task.targets)
            job.error = job.in_words(finished.early)

        return make

    def _set(self, job: Job, state: str) -> None:
        with self._condition:
            job.stop.check()
            job.state = state
        self.changed()


def _is_own_folder(path: Path) -> bool:
    """Whether a folder exists and belongs to this user."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (sys.platform == "win32" or status.st_uid == os.geteuid())
