"""Stereo images, camera moves and relit images of a result: made on request, by the commands' own functions, one at a time."""

from __future__ import annotations

import itertools
import math
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ...geometry.effects.lights import LightPlan
from ...geometry.effects.makers import under_lamps
from ...geometry.estimate import Estimate
from ...geometry.files import load_estimate
from ...geometry.files.image_files import image_bits
from ...geometry.files.paths import move_to_free, temporary_folder
from ...geometry.views.transparency import Layers, split_layers
from ...media.library import pyav
from ...model_loader.comfy.interrupt import Watch
from ...options.fields import Choice, Number, Options, default_of, options_of
from ...options.lights import POINT, LightOptions, LookOptions
from ...options.views import FLAT_LAYOUTS, RATE, SECONDS, MoveOptions, StereoOptions
from ..batch.outputs import Outputs
from ..batch.per_image import read_with_alpha, write
from ..batch.records import mark
from ..commands.option_table import option_names
from ..commands.parallax import write_parallax
from ..commands.scene import write_image
from ..console.terminal import quoted
from .job import Job
from .refusals import Refusal, full_disk_said, one_of, unknown
from .results import numbers_of
from .tasks import CANCELLED, DONE, FAILED, Task, TaskQueue

Chosen = TypeVar("Chosen", bound=Options)

_MOST = 1e14
_OF_STEREO, _OF_MOVES = ("divergence", "convergence"), ("move", "amount", "focus")
_OF_PLACE, _OF_LAMPS = ("light_x", "light_y", "light_depth"), ("colour", "intensity", "light_size", "shadows")
# Longer side of a camera move in pixels.
_SIDES = ("960", "1920")
_KEPT_OF_A_JOB = 12


@dataclass(frozen=True)
class PreviewRequest:
    """A request for a preview of a result.

    Attributes:
        command: The equivalent command's options, without the image and the model; requests with equal ones are equal.
        make: Renders the image's layers to a file in the folder; the last argument is called with the progress from 0 to 1.
    """

    command: list[str]
    make: Callable[[Job, Estimate, Layers, Path, Callable[[float], None]], Path] = field(compare=False)


def _stereo(layout: str, stereo: StereoOptions, job: Job, known: Estimate, layers: Layers, folder: Path, _: object) -> Path:
    outputs = Outputs(job.source, folder, (layout,), overwrite=True)
    write(outputs, known, replace(job.options, stereo=stereo), layers.with_alpha(layers.colours))
    return outputs.path(layout)


def _parallax(
    move: MoveOptions, longer_side: int, job: Job, known: Estimate, layers: Layers, folder: Path, progress: Callable[[float], None]
) -> Path:
    pyav()  # raises a helpful error if it is missing
    file = folder / f"{job.source.stem}_parallax.mp4"
    frames = round(SECONDS * RATE)
    for number in write_parallax(file, layers.shown, layers.seen(known), move, frames, Fraction(RATE), longer_side):
        progress(number / frames)
    return file


def _relit(lamp: LightOptions, look: LookOptions, job: Job, known: Estimate, layers: Layers, folder: Path, _: object) -> Path:
    file = folder / f"{job.source.stem}_relit.png"
    made, _ = under_lamps(layers, layers.seen(known), (LightPlan.of(lamp),), look, True)
    write_image(file, made.result, image_bits(job.source))
    return file


def usual_values() -> dict[str, float]:
    """The page's slider defaults, by the names of `request_of`."""
    sliders = {"divergence": StereoOptions, "convergence": StereoOptions, "amount": MoveOptions, "focus": MoveOptions}
    return {name: default_of(options, name) for name, options in sliders.items()}


def request_of(kind: str, values: Mapping[str, str]) -> PreviewRequest:
    """Parses a preview request of the page; raises Refusal if a value is unknown or out of range.

    Args:
        kind: "stereo" in one of FLAT_LAYOUTS, "parallax", or "relight" by a lamp in the scene, as by the commands of these names.
        values: "layout", "divergence", "convergence"; "move", "amount", "focus", "side"; or "x", "y", "depth", "colour", "intensity",
            "size", "shadows", "ambient". All are optional.
    """
    if kind == "stereo":
        layout = one_of(values, "layout", FLAT_LAYOUTS, FLAT_LAYOUTS[0])
        stereo = _chosen(values, StereoOptions, _OF_STEREO)
        return PreviewRequest(["--layout", layout, *_typed(stereo, *_OF_STEREO)], partial(_stereo, layout, stereo))
    if kind == "relight":
        light = _chosen(values, LightOptions, (*_OF_PLACE, *_OF_LAMPS), _MOST, light=POINT)
        look = _chosen(values, LookOptions, ("ambient",), _MOST)
        place = ",".join(f"{getattr(light, name):g}" for name in _OF_PLACE)
        return PreviewRequest(["--point", place, *_typed(light, *_OF_LAMPS), *_typed(look, "ambient")], partial(_relit, light, look))
    side = one_of(values, "side", _SIDES, _SIDES[0])
    move = _chosen(values, MoveOptions, _OF_MOVES)
    return PreviewRequest([*_typed(move, *_OF_MOVES), "--longer-side", side], partial(_parallax, move, int(side)))


def _typed(options: Options, *names: str) -> list[str]:
    """Options as typed in a command."""
    values = ((option_names(type(options))[name], getattr(options, name)) for name in names)
    return [word for flag, value in values for word in (flag, quoted(value) if isinstance(value, str) else f"{value:g}")]


def _chosen(values: Mapping[str, str], options: type[Chosen], names: Sequence[str], most: float | None = None, **fixed: str) -> Chosen:
    """Some of the options; the page omits the prefix "light_" of a lamp's. `most`: the largest number, None = as of the widgets."""
    chosen: dict[str, Any] = {}
    for name in names:
        option, sent = options_of(options)[name], name.removeprefix("light_")
        text = values.get(sent, str(default_of(options, name)))
        if isinstance(option, Choice):
            text = one_of(values, sent, option.choices, text)
        chosen[name] = _number(text, sent, option.high if most is None else most) if isinstance(option, Number) else text
    try:
        return options(**chosen, **fixed)
    except ValueError as error:
        raise Refusal(400, "{0}", error) from error


def _number(text: str, name: str, most: float) -> float:
    """A number rounded as `_typed` prints it."""
    try:
        number = float(f"{float(text):g}")
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise unknown(text, name)
    return number


@dataclass
class Preview(Task):
    """A stereo image, camera move or relit image of a result.

    Attributes:
        kind: The command's name.
        path: The file, once done.
        kept: Its copy in the results folder, once saved, with the mark of that time, `kept_mark`.
    """

    id: str
    job: Job
    kind: str
    request: PreviewRequest
    path: Path | None = None
    kept: Path | None = None
    kept_mark: Any = None

    @property
    def folder(self) -> Path:
        """Its folder, beside the upload and removed with it."""
        return self.job.source.parent / self.id

    def as_json(self) -> dict[str, Any]:
        """The page's JSON."""
        return {
            "id": self.id,
            "state": self.state,
            "share": self.share,
            "error": self.error,
            "name": self.path.name if self.path else "",
            "command": self.job.command_of(self.kind, self.request.command),
        }


class Previews(TaskQueue[Preview]):
    """The previews of a server."""

    def __init__(self) -> None:
        super().__init__("depth-normal previews")

    def start(self, job: Job, kind: str, values: Mapping[str, str]) -> Preview:
        """Starts a preview in place of unfinished ones of its kind and image, or returns an equal one. Refusal: no depth, bad settings."""
        request = request_of(kind, values)
        if job.state == DONE and job.quantity is None:
            raise Refusal(404, "{0} has no depth to show this of", job.name)
        numbers_of(job)
        with self._condition:
            others = [each for each in self._tasks.values() if each.job is job and each.kind == kind]
            for each in others:
                if each.request == request and each.state not in (FAILED, CANCELLED):
                    return each
            for each in others:
                each.end(CANCELLED)
            self._forget([each for each in others if each.state == DONE][:-_KEPT_OF_A_JOB])
            preview = Preview(secrets.token_hex(8), job, kind, request)
            self._tasks[preview.id] = preview
            self._condition.notify_all()
        return preview

    def cancel(self, preview_id: str) -> Preview:
        """Cancels an unfinished preview."""
        preview = self.get(preview_id)
        with self._condition:
            preview.end(CANCELLED)
        return preview

    def file_of(self, preview: Preview) -> Path:
        """A preview's file; raises Refusal if it is not done."""
        if preview.state != DONE or preview.path is None or not preview.path.exists():
            raise Refusal(404, "{0} has no result yet", preview.job.name)
        return preview.path

    def keep(self, preview: Preview) -> Path:
        """Copies the file once to the results folder, under a free name; returns the copy. Raises Refusal if that cannot be."""
        file, job = self.file_of(preview), preview.job
        try:
            with self._condition, full_disk_said(file.name, job.out):
                if preview.kept is None or mark(preview.kept) != preview.kept_mark:
                    preview.kept = _copied_to_free(file, job.out, job.source.stem)
                    preview.kept_mark = mark(preview.kept)
                return preview.kept
        except OSError as error:
            raise Refusal(507, "{0}", error) from error

    def kept(self, preview: Preview) -> Path:
        """The copy in the results folder; raises Refusal if there is none, or it was replaced or changed."""
        if preview.kept is None or mark(preview.kept) != preview.kept_mark:
            raise Refusal(404, "{0} has no result yet", preview.job.name)
        return preview.kept

    def forget(self, job: Job) -> None:
        """Cancels and forgets a removed job's previews."""
        with self._condition:
            mine = [each for each in self._tasks.values() if each.job is job]
            for each in mine:
                each.end(CANCELLED)
            self._forget(mine)

    def _forget(self, previews: list[Preview]) -> None:
        for each in previews:
            del self._tasks[each.id]
            shutil.rmtree(each.folder, ignore_errors=True)

    def _attempt(self, preview: Preview, /) -> None:
        def end(state: str, error: str) -> None:
            with self._condition:
                preview.end(state, error)
            if preview.state != DONE:
                shutil.rmtree(preview.folder, ignore_errors=True)

        preview.job.attempt(partial(self._make, preview), end)

    def _make(self, preview: Preview) -> None:
        job = preview.job

        def progress(share: float) -> None:
            preview.stop.check()
            preview.share = share

        layers = split_layers(read_with_alpha(job.upload()))
        preview.folder.mkdir()
        with Watch(preview.stop.check):
            path = preview.request.make(job, load_estimate(numbers_of(job)), layers, preview.folder, progress)
        preview.stop.check()
        with self._condition:
            preview.path = path


def _copied_to_free(file: Path, folder: Path, stem: str) -> Path:
    """Copies a file to a folder. A taken name gets a number after the stem, since players read the layout from the ending."""
    with temporary_folder(folder) as temporary:
        copy = shutil.copyfile(file, temporary / file.name)
        for number in itertools.count(1):
            place = folder / f"{stem}{f'-{number}' * (number > 1)}{file.name.removeprefix(stem)}"
            with suppress(FileExistsError):
                move_to_free(copy, place)
                return place
    raise AssertionError("there is always a free name")
