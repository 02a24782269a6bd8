"""The steps around one video, of the command and of the page: what its model is asked for, and the segments while it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...geometry.estimate import Quantity
from ...model_loader import Model
from ...model_loader.inference.panorama import check_perspective_model
from ..batch.options import Options, known_weights
from .run import computed_by
from .segments import SegmentStore
from .task import VideoTask


def model_settings(options: Options, task: VideoTask) -> dict[str, Any]:
    """All that decides on the frames of a video by a model, as records hold it; known before a model is loaded.

    Raises:
        ValueError: The model does not give what is asked for.
    """
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
    return {**task.settings(), **by, **options.recorded_steps, "size": spec.size_in_record(task.size)}


@contextmanager
def unfinished(
    task: VideoTask, settings: Mapping[str, Any], model: Model | None, *, resume: bool = False, kept: bool = True
) -> Iterator[SegmentStore]:
    """The segments of a video while it is made in the block. They go when it is there, and where none is finished.

    Args:
        task: What is asked.
        settings: All that decides on the frames and is known without the model.
        model: The model; None = depth is the task's own.
        resume: As `SegmentStore`.
        kept: Whether finished segments stay where the block fails.
    """
    with SegmentStore(task, {**settings, **computed_by(model)}, resume) as store:
        try:
            yield store
        except BaseException:
            if not kept or not store.done:
                store.remove()
            raise
        store.remove()
