"""A result's data for the page: its raw maps, a thumbnail, and exported files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...geometry.files import load_estimate
from ...geometry.files.html_page import page_payload
from ...geometry.files.image_files import open_image, strict
from ...geometry.files.paths import damage_named
from ...media import VideoError, read_frames
from ..batch.per_image import read, read_with_alpha, write
from ..outcomes import EXPECTED_ERRORS
from .job import Job
from .refusals import Refusal, full_disk_said
from .tasks import DONE

if TYPE_CHECKING:
    from PIL import Image

_THUMBNAIL = 96


def view_of(job: Job, check: Callable[[], object]) -> dict[str, Any]:
    """The result for `showResult` in the page's scripts; `check` runs between steps and may raise. Refusal: no result, or no raw maps."""
    npz = numbers_of(job)
    try:
        check()
        estimate = load_estimate(npz)
        check()
        image = read(job.upload())
        check()
        return page_payload(estimate, image)
    except EXPECTED_ERRORS as error:
        raise Refusal(422, "{0}", error) from error


def thumbnail_of(job: Job) -> bytes:
    """A small JPEG of the uploaded image, or of a video's first frame; raises Refusal if it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with (
            damage_named(job.source),
            strict,
            job.source.open("rb") as file,
            _first_frame(job.source) if job.is_video else open_image(job.source, file) as image,
        ):
            image.draft("RGB", (2 * _THUMBNAIL, 2 * _THUMBNAIL))
            small = ImageOps.exif_transpose(image) or image
            if small.mode.startswith("I"):  # 16-bit grey: Pillow clips it at 255, and resizes big-endian bytes as they are
                small = small.convert("I").point(lambda level: level / 257).convert("L")
            small.thumbnail((2 * _THUMBNAIL, 2 * _THUMBNAIL))
            if small.has_transparency_data:
                small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small.convert("RGBA"))
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
    del frames  # closes the file
    return Image.fromarray(pixels)


def file_of(job: Job, kind: str) -> Path | None:
    """A result's unchanged file of a key of `job.files` or `job.exports`; None if it can be exported; raises Refusal if it cannot."""
    if path := job.unchanged(kind):
        return path
    if kind not in job.exports:
        raise Refusal(404, "{0} has no file of this kind, or it was removed; run the image again", job.name)
    return None


def export(job: Job, kind: str, overwrite: bool, check: Callable[[], object]) -> Path:
    """Exports a file from the raw maps, by the command line's rules for overwriting, and adds it to `job.files`.

    `kind` is one of `job.exports`; `overwrite`: the user agreed to replace a foreign file of this name. `check` as in `view_of`. Raises
    Refusal if it cannot be made, or (409) would replace a file without the user's consent.
    """
    if path := file_of(job, kind):  # exported meanwhile
        return path
    npz, outputs = numbers_of(job), replace(job.outputs, writes=(kind,), overwrite=overwrite)
    path = outputs.path(kind)
    try:
        with full_disk_said(path.name, path.parent):
            estimate, image = load_estimate(npz), read_with_alpha(job.upload())
            check()
            write(outputs, estimate, job.options, image)
    except FileExistsError as error:
        if overwrite:
            raise Refusal(422, "{0}", error) from error
        raise Refusal(409, "{0} is there already, and is not known as an unchanged result of this image. Replace it?", path) from error
    except EXPECTED_ERRORS as error:
        raise Refusal(422, "{0}", error) from error
    job.note({kind: path})
    return path


def numbers_of(job: Job) -> Path:
    """The unchanged file of a result's raw maps; raises Refusal if there is none, or it was replaced or changed."""
    if job.state != DONE or "npz" not in job.files:
        raise Refusal(404, "{0} has no result yet", job.name)
    if npz := job.unchanged("npz"):
        return npz
    raise Refusal(410, "{0} was moved, removed or changed; run the image again", job.files["npz"])
