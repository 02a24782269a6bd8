"""What the page shows and downloads of a result: its maps as numbers, a small image, and further files made of the numbers."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...geometry.files import SaveOptions, load_estimate, save_estimate
from ...geometry.files.html_page import page_payload
from ...geometry.files.image_files import open_image, strict
from ...geometry.meshes.mesh import TO_LOOK_AT
from ...media import VideoError, read_frames
from ...model_loader.weights.disk_space import is_disk_full
from ..batch.per_image import read, read_with_alpha
from ..outcomes import EXPECTED_ERRORS
from .job import DONE, EXPORTS, Job
from .refusals import Refusal

if TYPE_CHECKING:
    from PIL import Image

_THUMBNAIL = 96
_one_export = threading.Lock()


def view_of(job: Job) -> dict[str, Any]:
    """The result as `showResult` of the page's scripts takes it.

    Raises:
        Refusal: It has none, or its file of numbers is gone.
    """
    npz = _numbers(job)
    try:
        return page_payload(load_estimate(npz), read(job.source))
    except EXPECTED_ERRORS as error:
        raise _gone(npz, error) from error


def thumbnail_of(job: Job) -> bytes:
    """A small JPEG of the uploaded image, or of a video's first frame.

    Raises:
        Refusal: It cannot be read.
    """
    from PIL import ImageOps

    try:
        with strict, job.source.open("rb") as file, _first_frame(job.source) if job.is_video else open_image(job.source, file) as image:
            image.draft("RGB", (2 * _THUMBNAIL, 2 * _THUMBNAIL))
            small = ImageOps.exif_transpose(image) or image
            small.thumbnail((2 * _THUMBNAIL, 2 * _THUMBNAIL))
            buffer = io.BytesIO()
            small.convert("RGB").save(buffer, "JPEG", quality=80)
    except EXPECTED_ERRORS as error:
        raise Refusal(404, "{0} has no small image", job.name) from error
    return buffer.getvalue()


def _first_frame(source: Path) -> Image.Image:
    from PIL import Image

    frames = read_frames(source)
    frame = next(frames, None)
    if frame is None:
        raise VideoError(f"{source}: there is not one frame in it")
    pixels = (frame.image() * 255).round().byte().movedim(0, -1).contiguous().numpy()
    del frames  # which closes the file
    return Image.fromarray(pixels)


def file_of(job: Job, kind: str) -> Path:
    """A file of the result; what is not there yet is made of the numbers and noted in `job.files`.

    Args:
        job: One that is done.
        kind: A key of `job.files`, or one of `job.exports`.

    Raises:
        Refusal: There is no such file, or it cannot be made; the words say why.
    """
    if kind in job.files and job.files[kind].exists():
        return job.files[kind]
    if kind not in EXPORTS or kind not in job.exports:
        raise Refusal(404, "{0} has no file of this kind, or it was removed; run the image again", job.name)
    npz, path = _numbers(job), job.outputs.path(kind)
    try:
        with _one_export:
            if kind not in job.files or not path.exists():
                image = read_with_alpha(job.source)
                save_estimate(path, load_estimate(npz), SaveOptions(image=image, mesh=TO_LOOK_AT))
                job.files[kind] = path
    except EXPECTED_ERRORS as error:
        if is_disk_full(error):
            raise no_room(path) from error
        raise _gone(npz, error) from error
    return path


def no_room(path: Path) -> Refusal:
    """The answer where a result does not fit on its disk."""
    return Refusal(507, "no room for {0} on the disk of {1}; free some space there", path.name, path.parent)


def _numbers(job: Job) -> Path:
    if job.state != DONE or "npz" not in job.files:
        raise Refusal(404, "{0} has no result yet", job.name)
    return job.files["npz"]


def _gone(path: Path, error: Exception) -> Refusal:
    if not path.exists():
        return Refusal(410, "{0} was moved or removed; run the image again", path)
    return Refusal(422, "{0}", error)
