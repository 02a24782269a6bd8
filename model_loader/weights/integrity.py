"""Checks whether local weights files are complete and match the published checksums."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...annotators.specs.base import CheckpointError, WeightFile
from . import hub
from .waiting import Background

logger = logging.getLogger(__name__)

BUNDLED_FOLDER = Path(__file__).parents[2] / "annotators"

# What browsers add to the name of a file that they have downloaded before: "model (1).safetensors".
_COPY = re.compile(r" ?\(\d+\)(?=\.\w+$)")

_verdicts: dict[tuple[str, int, int, WeightFile], bool] = {}
_structures: dict[tuple[str, int, int], str | None] = {}


def bundled_path(file: WeightFile) -> Path:
    """The path of a file that ships with the pack."""
    return BUNDLED_FOLDER / file.name


def bundled_weights(file: WeightFile) -> Path:
    """The path of a file that ships with the pack; a CheckpointError if it is missing or damaged."""
    path = bundled_path(file)
    problem = difference(path, file) if path.is_file() else "it is missing"
    if problem:
        raise CheckpointError(f"{path} is not the file that the pack came with: {problem}. Install the pack again")
    return path


def verify(path: Path, file: WeightFile, tick: Callable[[], None] | None = None) -> bool:
    """Compares a user's file with the published one. A difference, of size or sha256, is only logged, as a warning; then returns False.

    Conversions are not compared. Files of the right repository in the Hugging Face cache are not hashed, as the sha256 is their blob's
    name; only their size is checked. All others whose sha256 is published are hashed once per process. `tick` is called many times a
    second meanwhile; it may raise to stop.
    """
    key = (*stamp(path), file)
    if key not in _verdicts:
        problem = None if is_conversion(path, file) or _is_cached_blob(path, file) else difference(path, file, tick)
        if problem:
            logger.warning("not the published %s, and used all the same: %s; delete it to have it downloaded: %s", file.name, problem, path)
        _verdicts[key] = problem is None
    return _verdicts[key]


def is_conversion(path: Path, file: WeightFile) -> bool:
    """Whether a user's file has the published weights in another form, by its name and size or by its repository."""
    if plain(path.name) != file.name.lower():
        return path.suffix.lower() != Path(file.name).suffix.lower() or file.size not in (None, path.stat().st_size)
    location = path.as_posix().lower()
    return any(str(each.repo_id).rsplit("/", 1)[-1].lower() in location for each in file.conversions if each.name == file.name)


def plain(name: str) -> str:
    """A file's name or path in lower case, without what browsers add to a second copy."""
    return _COPY.sub("", name.lower())


def trust(path: Path, file: WeightFile) -> None:
    """Records that a file was just compared with the published one."""
    _verdicts[(*stamp(path), file)] = True


def difference(path: Path, file: WeightFile, tick: Callable[[], None] | None = None) -> str | None:
    """Describes how a file differs from the published one; None if it does not. `tick` is called between chunks."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size} bytes, the published file {file.size}"
    if file.sha256 and (digest := sha256_of(path, tick)) != file.sha256.lower():
        return f"its sha256 is {digest}, the published file's {file.sha256}"
    return None


def sha256_of(path: Path, tick: Callable[[], None] | None = None) -> str:
    """A file's sha256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(2**22):
            digest.update(chunk)
            if tick:
                tick()
    return digest.hexdigest()


def structure_problem(path: Path, tick: Callable[[], None] | None = None) -> str | None:
    """Why a file cannot be read as weights, beginning with "it" ("it is cut short", "it is a web page"); None if it can.

    Reads only names and shapes: the header of safetensors, the pickle of PyTorch files. `tick` is called about ten times a second
    meanwhile; it may raise to stop.
    """
    if tick is None:
        return _structure_problem(path)
    with Background(_structure_problem(each) for each in [path]) as reading:
        return reading.get(tick, math.inf, "")


def _structure_problem(path: Path) -> str | None:
    from .checkpoint import read_shapes

    try:
        read_shapes(path)
    except CheckpointError as error:
        return str(error).replace(str(path), "it", 1)
    return None


def _is_whole_safetensors(path: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    with suppress(SafetensorError), safe_open(str(path), "np") as opened:  # compares the header with the file's length
        return bool(opened.keys())
    return False


def seems_usable(path: Path) -> bool:
    """A fast `is_usable` without torch: checks only the file's index, and not the content of PyTorch files."""
    try:
        with path.open("rb") as stream:
            begins = stream.read(9)
        if begins.startswith(b"PK\x03\x04"):
            return zipfile.is_zipfile(path)
        return begins[:1] == b"\x80" or (begins[8:] == b"{" and _is_whole_safetensors(path))
    except OSError:
        return False


def is_usable(path: Path, tick: Callable[[], None] | None = None) -> bool:
    """Whether a file can be read as weights; if not, logs why, once. `tick` is as in `structure_problem`."""
    try:
        key = stamp(path)
        if key not in _structures:
            path.open("rb").close()  # permissions may change, and the key does not
            _structures[key] = structure_problem(path, tick)
            if problem := _structures[key]:
                logger.warning("a weights file is left aside, as %s: %s", problem, path)
    except OSError as error:
        logger.warning("a weights file cannot be read (%s): %s", error, path)
        return False
    return _structures[key] is None


def stamp(path: Path) -> tuple[str, int, int]:
    """Path, modification time and size of a file: a key that changes with the file."""
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size


def _is_cached_blob(path: Path, file: WeightFile) -> bool:
    if not (file.repo_id and file.sha256 and path.is_symlink()):
        return False
    folder = hub.cache_folder(file)
    blob = folder / "blobs" / file.sha256.lower()
    return path.is_relative_to(folder / "snapshots") and path.resolve() == blob.resolve() and blob.stat().st_size == (file.size or -1)
