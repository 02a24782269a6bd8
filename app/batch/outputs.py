"""Plans a run: result names, images already done, files that must not be overwritten, and outputs that a model cannot provide."""

from __future__ import annotations

import errno
import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ...annotators.base import log_used_size
from ...annotators.specs.base import ModelSpec
from ...geometry.camera import DEFAULT_FOV
from ...geometry.estimate import Quantity
from ...geometry.files import FORMATS, possible_paths
from ...geometry.kinds import ZERO_AT_CAMERA
from ...geometry.views.stereo import stereo_suffix
from ...model_loader.inference.panorama import check_panorama_model, check_perspective_model
from ...options.map_images import CODINGS
from ...options.outputs import COMPOSITING, DEFAULT_WRITES, HOLES, PANORAMA_CHOICES, STEREO_CHOICES
from ...options.views import AROUND_LAYOUTS, LAYOUTS
from ..outcomes import EXPECTED_ERRORS, message_of
from .name_locks import folded
from .options import Options
from .overwriting import files_there, nearest_folder, reasons_not_to_replace, unwritable
from .records import RECORDS, is_whole, mark, read_record
from .sources import Identity, Source, file_identity

T = TypeVar("T")
logger = logging.getLogger(__name__)

_IMAGES = {
    "depth": "_depth.png",
    "normals": "_normals.png",
    COMPOSITING: "_comp.exr",
    **{layout: f"{stereo_suffix(layout)}.png" for layout in LAYOUTS},
    **{f"{layout}{HOLES}": f"{stereo_suffix(layout)}_holes.png" for layout in LAYOUTS},
}
_BESIDE = {COMPOSITING: "_comp.chan"}
# Any file system allows names of this length.
_SHORT_NAME = 100
# Threads that check existing files, and images per task.
_THREADS = 8
_CHUNK = 128


@dataclass(frozen=True, slots=True)
class Outputs:
    """The result files of one image.

    Attributes:
        writes: Kinds of results: "depth" and "normals" (images), `COMPOSITING`, formats of `geometry.files.FORMATS` without their dot, and
            layouts of `geometry.views.stereo.LAYOUTS` (stereo images; with suffix "-holes", the mask of filled disocclusions).
        overwrite: Whether files that this pack did not make may be replaced.
        keep_extension: Whether names begin with the full file name ("a.jpg_depth.png") instead of the stem, so that "a.jpg" and "a.png" can
            share a folder.
    """

    image: Path
    folder: Path
    writes: tuple[str, ...] = DEFAULT_WRITES
    overwrite: bool = False
    keep_extension: bool = False

    @property
    def stem(self) -> str:
        """The common prefix of all result names."""
        return self.image.name if self.keep_extension else self.image.stem

    def path(self, kind: str) -> Path:
        """The file of one kind of `writes`; for formats of two files, the name to pass to `save_estimate`."""
        return self.folder / f"{self.stem}{_IMAGES.get(kind, f'.{kind}')}"

    @property
    def record(self) -> Path:
        """The file of the image's record."""
        return Path(self.record_name)

    @property
    def record_name(self) -> str:
        """`record` as a string: a million `Path` objects take minutes."""
        return os.path.join(self.folder, RECORDS, f"{self.stem}.json")  # noqa: PTH118

    @property
    def source(self) -> Path:
        """The input file, see `run.Item`."""
        return self.image

    def names(self) -> tuple[str, ...]:
        """The names of all files that any model may write."""
        stem = self.stem
        return tuple([stem + ending for ending in _endings(self.writes)])

    def paths(self) -> tuple[Path, ...]:
        """The paths of all files that may be written."""
        return tuple(self.folder / name for name in self.names())


@functools.lru_cache(maxsize=64)
def _endings(writes: tuple[str, ...]) -> tuple[str, ...]:
    names = (_IMAGES.get(kind) or tuple(path.name[1:] for path in possible_paths(f"x.{kind}")) for kind in writes)
    endings = [ending for each in names for ending in ([each] if isinstance(each, str) else each)]
    return tuple(dict.fromkeys((*endings, *(_BESIDE[kind] for kind in writes if kind in _BESIDE))))


@dataclass(frozen=True)
class Plan(Generic[T]):
    """The work of a run: images with their result files, or videos; those `refused` cannot be done, each with the reason."""

    todo: list[T]
    done: list[T]
    refused: list[tuple[T | Outputs, str]]

    @property
    def total(self) -> int:
        """The number of items."""
        return len(self.todo) + len(self.done) + len(self.refused)


def plan_outputs(
    sources: Iterable[Source],
    folder: Path,
    writes: Sequence[str] = DEFAULT_WRITES,
    overwrite: bool = False,
    done_by: Mapping[str, Any] | None = None,
    keep_extension: bool = False,
) -> Plan[Outputs]:
    """Plans the result files of all images before anything is written. Duplicate sources are planned once.

    Args:
        sources: The input files; they need not exist.
        folder: The results folder, which need not exist; each source's subfolders are kept.
        writes, overwrite, keep_extension: As of `Outputs`; duplicates in `writes` are ignored.
        done_by: Settings for which finished images are skipped (`records.is_whole`); None = skip none.

    Returns:
        The plan. An image is refused, with a reason, if it would write the same files as an earlier one, if a result would replace an input
        image, a file that this pack did not make or one made from another image, or if its name is invalid. Names that differ only in case
        or Unicode normalisation count as equal, because some file systems treat them so.

    Raises:
        ValueError: Every image is refused, or the folder is not writable.
    """
    planned = list(_unique_outputs(sources, folder, tuple(dict.fromkeys(writes)), overwrite, keep_extension))
    folders = dict.fromkeys((folder, *(outputs.folder for outputs in planned)))
    if problems := list(dict.fromkeys(problem for each in folders for problem in _folder_problems(each, tried=each == folder))):
        raise ValueError(_nothing_written(problems))
    folders = {each: each.is_dir() for each in folders}
    shared = shared_names(planned)
    existing = list(_in_threads(lambda outputs: _existing(outputs, done_by, folders[outputs.folder]), planned))
    images = _identities(planned) if any(each.taken for each in existing) else {}
    plan: Plan[Outputs] = Plan([], [], [])
    for outputs, each in zip(planned, existing, strict=True):
        problem = shared.get(outputs) if shared else None  # hashing a million paths takes long
        if problem := problem or _image_in_the_way(outputs, each, images) or each.problem:
            plan.refused.append((outputs, problem))
        else:
            (plan.done if each.whole else plan.todo).append(outputs)
    if plan.refused and not plan.todo and not plan.done:
        raise ValueError(_nothing_written([problem for _, problem in plan.refused]))
    return plan


def plan_each(
    sources: Iterable[Source],
    folder: Path,
    prepare: Callable[[Source], tuple[T, Sequence[Path]]],
    is_done: Callable[[T], bool],
    words: Callable[[BaseException], str] = message_of,
    by_extension: bool = False,
) -> Plan[T]:
    """Plans a run item by item. Of two items that would write the same file, the second is refused.

    Args:
        prepare: Returns the item and its result files, without writing. Its exceptions become the reason of refusal; only ImportError, of a
            package that every item needs, is raised.
        by_extension: Whether --keep-extension would separate files that differ only in their extension.
    """
    plan: Plan[T] = Plan([], [], [])
    owners: dict[str, Path] = {}
    for source in sources:
        try:
            item, targets = prepare(source)
            for target in targets:
                if first := owners.get(folded(str(target))):
                    advice = "add --keep-extension, or " * (by_extension and folded(first.name) != folded(source.path.name))
                    raise ValueError(same_files(first, source.path, target, advice))
            if problem := _too_long(source.path, targets[0].parent, [target.name for target in targets]):
                raise ValueError(problem)
        except ImportError:
            raise
        except EXPECTED_ERRORS as error:
            reason, name = words(error), str(source.path)
            plan.refused.append((Outputs(source.path, folder), reason if name in reason else f"{name}: {reason}"))
        else:
            owners |= dict.fromkeys((folded(str(target)) for target in targets), source.path)
            (plan.done if is_done(item) else plan.todo).append(item)
    return plan


def _nothing_written(problems: Sequence[str]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"nothing was written: {problems[0]}{more}"


@dataclass(frozen=True, slots=True)
class _Existing:
    """An image's existing results: whether it is done; the files that would be replaced, by name; why nothing can be written."""

    whole: bool = False
    taken: Mapping[str, Identity] = field(default_factory=dict)
    problem: str | None = None


_NOTHING = _Existing()
_WHOLE = _Existing(whole=True)


def _existing(outputs: Outputs, done_by: Mapping[str, Any] | None, folder_exists: bool) -> _Existing:
    """Checks each file once: a million images on a server make each access count."""
    if not folder_exists:
        return _Existing(problem=problem) if (problem := _name_problem(outputs)) else _NOTHING
    names = outputs.names()
    # Marks before the record: if a process replaces files just now, the record then has both old and new marks.
    marks, taken = files_there(outputs.folder, names)
    record = read_record(outputs.record_name) or {} if marks and (done_by or not outputs.overwrite) else {}
    if done_by and record and is_whole(record, mark(outputs.image), done_by, names, marks):
        return _WHOLE
    reasons = reasons_not_to_replace(outputs.folder, marks, record, outputs.image, outputs.overwrite)
    problem = (None if record else _name_problem(outputs)) or "; ".join(reasons)
    return _Existing(taken=taken, problem=problem or None) if marks or problem else _NOTHING


def _in_threads(look: Callable[[Outputs], T], planned: Sequence[Outputs]) -> Iterator[T]:
    """Maps `look` over the outputs in order, in threads: disks and servers answer several requests at a time."""
    chunks = (planned[start : start + _CHUNK] for start in range(0, len(planned), _CHUNK))
    pool = ThreadPoolExecutor(_THREADS, "plan")
    try:
        for result_paths in pool.map(lambda chunk: [look(outputs) for outputs in chunk], chunks):
            yield from result_paths
    finally:
        pool.shutdown(cancel_futures=True)


def _identities(planned: Sequence[Outputs]) -> dict[Identity, Path]:
    identities = _in_threads(lambda outputs: file_identity(outputs.image), planned)
    return {identity: outputs.image for outputs, identity in zip(planned, identities, strict=True) if identity}


def _image_in_the_way(outputs: Outputs, existing: _Existing, images: Mapping[Identity, Path]) -> str:
    """Why a result would replace an input image; empty if none would."""
    overwritten = [(outputs.folder / name, images[identity]) for name, identity in existing.taken.items() if identity in images]
    return "; ".join(
        f"{outputs.image} would write {path}, which is the image {image}; choose another folder with --out" for path, image in overwritten
    )


def _unique_outputs(
    sources: Iterable[Source], folder: Path, writes: tuple[str, ...], overwrite: bool, keep_extension: bool
) -> Iterator[Outputs]:
    seen, parents, folders = set(), {}, {}
    for source in sources:
        parent, name = os.path.split(source.path)
        below = os.path.dirname(source.relative)  # noqa: PTH120  as above
        real = parents.get(parent) or parents.setdefault(parent, str(source.path.parent.resolve()))
        if (place := f"{real}{os.sep}{name}") not in seen:
            seen.add(place)
            yield Outputs(source.path, folders.get(below) or folders.setdefault(below, folder / below), writes, overwrite, keep_extension)


def shared_names(planned: Iterable[Outputs]) -> dict[Outputs, str]:
    """Images that would write the same file as an earlier one, with the reason."""
    stems: dict[str, Outputs] = {}
    refused = {}
    for outputs in planned:
        first = stems.setdefault(folded(f"{outputs.folder}{os.sep}{outputs.stem}"), outputs)
        if first is not outputs:
            refused[outputs] = _same_files(first, outputs)
    for added in {ending.removesuffix(other) for outputs in stems.values() for ending, other in _overlapping(outputs.writes)}:
        for stem, outputs in stems.items():
            if stem.endswith(added) and (other := stems.get(stem.removesuffix(added))):
                refused[outputs] = _same_files(other, outputs)
    return refused


def _same_files(first: Outputs, second: Outputs) -> str:
    names = {folded(name) for name in second.names()}
    path = next(path for path in first.paths() if folded(path.name) in names)
    advice = "add --keep-extension, or " * (not first.keep_extension and folded(first.image.name) != folded(second.image.name))
    return same_files(first.image, second.image, path, advice)


def same_files(first: Path, second: Path, path: Path, advice: str = "") -> str:
    """The reason to refuse the second of two inputs with the same result file; `advice` precedes the standard advice."""
    return f"{first} and {second} would write the same files ({path}); {advice}run them apart, each with its own --out"


@functools.lru_cache(maxsize=64)
def _overlapping(writes: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pairs of endings where one ends with the other: the difference may be part of another image's stem."""
    endings = _endings(writes)
    return tuple((one, other) for one in endings for other in endings if one != other and one.endswith(other))


def refusals(outputs: Outputs, paths: Iterable[Path]) -> list[str]:
    """Reasons not to replace some of an image's `paths`, as `reasons_not_to_replace`."""
    marks, _ = files_there(outputs.folder, [path.name for path in paths])
    # Marks before the record, as in `_existing`.
    record = {} if outputs.overwrite or not marks else read_record(outputs.record) or {}
    return reasons_not_to_replace(outputs.folder, marks, record, outputs.image, outputs.overwrite)


def _folder_problems(folder: Path, tried: bool) -> list[str]:
    """Reasons why a folder is not writable; `tried` as in `unwritable`."""
    records = folder / RECORDS
    touched = [nearest_folder(folder)]
    if not touched[0].is_dir():
        return [f"{touched[0]} is a file, not a folder; choose another --out"]
    if os.path.lexists(records):
        if not records.is_dir():
            return [f"{records} is not a folder, and the records of what was made go there; move it, or choose another --out"]
        if records.stat().st_dev != folder.stat().st_dev:
            return [f"{records} is on another disk than {folder}, and results are moved from it whole; move it, or choose another --out"]
        touched.append(records)
    return [f"{problem} with --out" for each in touched if (problem := unwritable(each, tried))]


def _name_problem(outputs: Outputs) -> str | None:
    """Why an image's results or record cannot have their names; None if they can."""
    if os.path.isdir(outputs.record_name):  # noqa: PTH112  Path.is_dir raises on names that are too long
        return f"{outputs.record} is a folder, and the record of what was made of {outputs.image} goes there; move it"
    return _too_long(outputs.image, outputs.folder, (*outputs.names(), f"{outputs.stem}.json"))


def _too_long(image: Path, folder: Path, names: Sequence[str]) -> str | None:
    """Why the longest name is too long for the file system; None if it is not."""
    longest = max(names, key=len)
    if len(longest) <= _SHORT_NAME and longest.isascii():
        return None
    try:
        # Only the file system knows its limit.
        os.lstat(nearest_folder(folder) / longest)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return f"the name {longest} is too long for the disk of {folder}; give {image} a shorter one"
    return None


def check_writes(writes: Sequence[str], options: Options) -> None:
    """Rejects outputs that a model's estimates cannot provide, before any is made. Logs assumptions of surfaces and an ignored size.

    Raises:
        ValueError: An unknown coding, or an output that needs a map which the model does not predict.
        ImportError: The library for a format is missing; the message says how to install it.
    """
    if options.coding not in CODINGS:
        raise ValueError(f"unknown coding {options.coding!r}; accepted: {', '.join(CODINGS)}")
    if options.own:  # their maps are checked when they are read
        _check_libraries(writes)
        return
    spec = options.spec
    options.of_family()
    if options.panorama:
        check_panorama_model(spec)
        if spec.quantity is not Quantity.METRIC_DEPTH:
            logger.info("%s gives no metres: the distances of a panorama are up to scale", spec.id)
        if refused := [name for name in writes if name not in PANORAMA_CHOICES]:
            raise ValueError(f"{refused[0]} cannot be made of a panorama; of panoramas are written {', '.join(PANORAMA_CHOICES)}")
    else:
        check_perspective_model(spec)
    if options.size:
        log_used_size(spec, options.size)
    gives = {"depth"} if spec.quantity else set()
    if spec.axes or (spec.quantity and (spec.quantity is not Quantity.RELATIVE_DEPTH or options.near_far_ratio)):
        gives.add("normals")
    if not gives & set(writes) and set(writes) <= {"depth", "normals"}:
        raise ValueError(f"{spec.id} gives {spec.gives}: there is no {' or '.join(writes)} to write; choose another model or --write")
    if options.near_far_ratio and spec.quantity in ZERO_AT_CAMERA:
        logger.warning("%s gives distances: a near-far ratio (%g) changes nothing", spec.id, options.near_far_ratio)
    for name in writes:
        if name in STEREO_CHOICES:
            if spec.quantity is None:
                raise ValueError(f"{spec.id} gives {spec.gives}; images for both eyes ({name}) need depth: choose another model")
            if not options.panorama:
                _check_half_sphere(name.removesuffix(HOLES), spec, options.fov)
        elif name not in ("depth", "normals"):
            _check_format(name, spec, options)


def lacking_libraries(writes: Sequence[str]) -> dict[str, str]:
    """The outputs whose library is missing, each with how to install it."""
    lacking = {}
    for name in writes:
        try:
            _check_libraries([name])
        except ImportError as error:
            lacking[name] = str(error)
    return lacking


def _check_libraries(writes: Sequence[str]) -> None:
    for name in writes:
        if (chosen := FORMATS.get(".exr" if name == COMPOSITING else f".{name}")) is not None:
            chosen.check_library()


def _check_half_sphere(layout: str, spec: ModelSpec, fov: float) -> None:
    if layout in AROUND_LAYOUTS:
        raise ValueError(f"{layout} is made of 360° panoramas: add --panorama if the images are such (in ComfyUI: Estimate Panorama)")
    if layout == "vr180" and not fov and not spec.knows_camera:
        logger.info("%s does not know the field of view, and vr180 needs it: %g degrees are assumed", spec.id, DEFAULT_FOV)


def _check_format(name: str, spec: ModelSpec, options: Options) -> None:
    fov, near_far_ratio = options.fov, options.near_far_ratio
    chosen = FORMATS[".exr" if name == COMPOSITING else f".{name}"]
    chosen.check_library()
    if chosen.surface and spec.quantity is None:
        raise ValueError(f"{spec.id} gives {spec.gives}; a mesh ({name}) needs depth: choose another model")
    # A plate and a panorama do not assume what photos need.
    if not (chosen.surface or name == COMPOSITING) or name == "stl" or options.panorama:
        return
    if chosen.surface and spec.quantity not in ZERO_AT_CAMERA:
        ratio = f"{near_far_ratio:g}, as --near-far-ratio says" if near_far_ratio else "3 to 10; --near-far-ratio N sets it"
        logger.info("%s gives no metres: the depth range of a mesh (%s) is guessed as 1:%s", spec.id, name, ratio)
    if not fov and not spec.knows_camera:
        logger.info(
            "%s does not know the camera: %s (%s) assumes a field of view of %g degrees; --fov DEGREES sets it",
            spec.id,
            "a mesh" if chosen.surface else "EXR for compositing",
            name,
            DEFAULT_FOV,
        )
