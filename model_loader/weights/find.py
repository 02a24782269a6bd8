"""Searches ComfyUI's model folders, other packs' folders and this machine's caches for weights files; lists the installed models."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...annotators.registry import all_specs
from ...annotators.specs.base import WeightFile
from ..comfy.host import model_folders
from ..system import environment
from . import hub
from .integrity import bundled_path, is_usable, plain, seems_usable

PACK_FOLDER = "depth_normal"
_AUX_PACK = "comfyui_controlnet_aux"
_MAX_DEPTH = 5
_COARSEST_CLOCK = 2 * 10**9
"""Resolution, in nanoseconds, of the coarsest file system's clock (FAT)."""

# Generic names of weights files, which only their repository tells apart.
_GENERIC_NAME = re.compile(r"((diffusion_)?pytorch_model|model|weights|checkpoint)([.-].*)?\.\w+", re.IGNORECASE)


def find_weights(file: WeightFile, usable: Callable[[Path], bool] = is_usable) -> Path | None:
    """Searches for a weights file wherever users keep it, without network and without creating anything.

    It descends at most five folders and ignores case. A generic name ("model.safetensors") only counts inside a folder named like its
    repository. Empty and unreadable files do not count. Among several in one place, the file of the published size wins. Bundled files are
    not searched for elsewhere.

    Folders are read once for all files, and again when their modification time changes. `usable` tells whether a found file counts:
    checking the content of PyTorch files needs torch; `seems_usable`, for lists, reads their index only.
    """
    if file.bundled:
        return path if (path := bundled_path(file)).is_file() else None
    for folder in _searched(file.folders):
        if usable_path := _find_in(folder, file, usable):
            return usable_path
    return find_in_hub_cache(file, usable)


def find_all(files: Iterable[WeightFile], usable: Callable[[Path], bool] = is_usable) -> frozenset[WeightFile]:
    """The subset of files that `find_weights` finds, with one walk over the folders for all files."""
    wanted = {file: [] if file.bundled else _wanted(file) for file in files}
    ends = [end for each in wanted.values() for end in each]
    names = {plain(path.name) for folder in _all_folders() for path in _named(folder, ends)}
    there = set()
    for file, each in wanted.items():
        by_name = file.bundled or any(end.rsplit("/", 1)[-1] in names for end in each)
        if find_weights(file, usable) if by_name else find_in_hub_cache(file, usable):
            there.add(file)
    return frozenset(there)


def find_file(name: str) -> Path:
    """A weights file named by the user: an absolute path, returned unchecked, or the end of one, ignoring case, in the searched folders.

    Raises:
        FileNotFoundError: No such file in the searched folders; the message lists them.
    """
    path = Path(name.strip().strip('"'))
    with suppress(RuntimeError):  # "~" before no user's name
        path = path.expanduser()
    if path.is_absolute():
        return path
    end = f"/{path.as_posix()}".lower()
    folders = list(_all_folders())
    for folder in folders:
        for candidate in sorted(_named(folder, [end])):
            if candidate.as_posix().lower().endswith(end) and candidate.is_file():
                return candidate
    searched = ", ".join(str(folder) for folder in folders if folder.is_dir()) or "none of which exists"
    raise FileNotFoundError(f"no weights file is called {name!r} in the folders that are searched ({searched}); give its whole path")


def name_rank(path: Path, file: WeightFile) -> int | None:
    """The index of a path among a file's possible names: 0 is the surest; None = no match."""
    location = plain(path.absolute().as_posix())
    return next((rank for rank, end in enumerate(_wanted(file)) if location.endswith(end)), None)


def search_places(file: WeightFile) -> list[Path]:
    """The folders that `find_weights` searches, existing or not, for messages."""
    return list(dict.fromkeys([*_searched(file.folders), *([hub.cache_folder(file)] if file.repo_id else [])]))


def download_folder() -> Path:
    """The folder for downloads: ComfyUI's first configured `models/depth_normal`, or the user's cache."""
    return next(model_folders(PACK_FOLDER), user_cache())


def download_path(file: WeightFile) -> Path:
    """A file's path in `download_folder`, also for files downloaded by hand."""
    return download_folder() / file.repo_id / file.filename if file.repo_id else download_folder() / file.name


def user_cache() -> Path:
    """The pack's folder in the user's cache; the environment variable DEPTH_NORMAL_HOME overrides it."""
    if home := environment("DEPTH_NORMAL_HOME"):
        return Path(home).expanduser()
    if sys.platform == "win32":
        root = environment("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        root = "~/Library/Caches"
    else:
        root = environment("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / PACK_FOLDER


def find_in_hub_cache(file: WeightFile, usable: Callable[[Path], bool] = is_usable) -> Path | None:
    """The file, or a conversion of it, in the Hugging Face cache, at the wanted revision, else at the newest cached `main`."""
    for form in (file, *file.conversions):
        if not form.repo_id or not (folder := hub.cache_folder(form)).is_dir():
            continue
        for revision in dict.fromkeys((form.revision, "main")):
            cached = hub.library().try_to_load_from_cache(form.repo_id, form.filename, folder.parent, revision, form.repo_type)
            if isinstance(cached, str) and (path := Path(cached)).stat().st_size and usable(path):
                return path
    return None


def _all_folders() -> Iterator[Path]:
    """All folders that may hold any model's files."""
    names = dict.fromkeys(name for spec in all_specs() for file in spec.files for name in file.folders)
    yield from dict.fromkeys(_searched(names))


def _searched(names: Iterable[str]) -> Iterator[Path]:
    for name in (PACK_FOLDER, *names):
        yield from model_folders(name)
    yield from _aux_folders()
    yield user_cache()
    yield _torch_hub() / "checkpoints"


def _torch_hub() -> Path:
    """`torch.hub.get_dir` without importing torch."""
    if hub_module := getattr(sys.modules.get("torch"), "hub", None):
        return Path(hub_module.get_dir())
    home = environment("TORCH_HOME") or os.path.join(environment("XDG_CACHE_HOME") or "~/.cache", "torch")  # noqa: PTH118
    return Path(home).expanduser() / "hub"


def _aux_folders() -> Iterator[Path]:
    """Checkpoint folders of the pack comfyui_controlnet_aux, even if it is disabled."""
    if folder := environment("AUX_ANNOTATOR_CKPTS_PATH"):
        yield Path(folder).expanduser()
    for custom_nodes in model_folders("custom_nodes"):
        for parent in (custom_nodes, custom_nodes / ".disabled"):
            for pack in sorted(parent.iterdir()) if parent.is_dir() else ():
                if pack.name.lower().replace("-", "_").startswith(_AUX_PACK) and pack.is_dir():
                    yield from dict.fromkeys((_aux_configured(pack), pack / "ckpts"))


def _aux_configured(pack: Path) -> Path:
    """The folder of `annotator_ckpts_path` in the pack's config.yaml, relative to the pack."""
    try:
        config = (pack / "config.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        config = ""
    line = re.search(r"""^annotator_ckpts_path:\s*(?:"(.+?)"|'(.+?)'|([^\s#].*?))\s*(?:#.*)?$""", config, re.MULTILINE)
    return pack / next(filter(None, line.groups())) if line else pack / "ckpts"


def _find_in(folder: Path, file: WeightFile, usable: Callable[[Path], bool]) -> Path | None:
    wanted = _wanted(file)
    candidates = []
    for path in _named(folder, wanted):
        location = plain(path.as_posix())
        rank = next((i for i, end in enumerate(wanted) if location.endswith(end)), None)
        if rank is None or not path.is_file():
            continue
        if size := path.stat().st_size:
            candidates.append((size != (file.size or size), rank, len(path.as_posix()), location, path))
    return next((path for *_, path in sorted(candidates) if usable(path)), None)


def _wanted(file: WeightFile) -> list[str]:
    """Lower-case path endings that identify this file, the surest first."""
    names = [file.name, *file.aliases]
    wanted = [name for name in names if not _GENERIC_NAME.fullmatch(name)]
    if file.repo_id:
        repo_name = file.repo_id.rsplit("/", 1)[-1]
        # if the repository keeps it in a folder, others may hold the same generic name
        wanted = [f"{repo_name}/{name}" for name in (file.filename, *wanted)] + wanted
    own = [f"/{name}".lower() for name in dict.fromkeys(wanted)]
    return own + [end for conversion in file.conversions for end in _wanted(conversion)]


@dataclass(frozen=True)
class _Listing:
    """The content of a folder at the time it was read."""

    changed: int  # the folder's modification time, in nanoseconds
    settled: bool  # whether that was older than a file system's clock resolution, so that any later change must alter it
    files: Mapping[str, Sequence[str]]  # names of everything but folders, by lower case, also as `plain`
    folders: Sequence[str]  # names of the folders to search


_listings: dict[Path, _Listing] = {}


def _named(folder: Path, wanted: Sequence[str]) -> Iterator[Path]:
    """Files, at most `_MAX_DEPTH` folders deep, whose name is the last component of a wanted path ending.

    Each folder is read once, at its smallest depth, as links between folders can form endless paths. A link to a folder already read is
    only followed if a wanted ending contains its name.
    """
    names = {end.rsplit("/", 1)[-1] for end in wanted}
    asked_for = {part for end in wanted for part in end.split("/")[1:-1]}
    seen: set[tuple[int, int, tuple[str, ...]]] = set()
    remaining: deque[tuple[Path, int, tuple[str, ...]]] = deque([(folder, 0, ())])
    while remaining:
        place, depth, within = remaining.popleft()
        try:
            status = place.stat()
            own = (status.st_dev, status.st_ino, within)
            if status.st_ino and own in seen:
                continue
            seen.add(own)
            listing = _listing(place, status.st_mtime_ns)
        except OSError:
            _listings.pop(place, None)
            continue
        for name in names:
            yield from (place / spelled for spelled in listing.files.get(name, ()))
        if depth < _MAX_DEPTH:
            for name in listing.folders:
                lower = name.lower()
                remaining.append((place / name, depth + 1, (*within, lower) if lower in asked_for else ()))


def _listing(folder: Path, changed: int) -> _Listing:
    """A folder's content, cached until its modification time changes, as it does when files come or go.

    Without the cache, every search for a model would list every folder; now it only stats them.
    """
    kept = _listings.get(folder)
    if kept is not None and kept.settled and kept.changed == changed:
        return kept
    now = time.time_ns()
    files: defaultdict[str, list[str]] = defaultdict(list)
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                if not entry.name.startswith("."):
                    folders.append(entry.name)
            else:
                for key in {entry.name.lower(), plain(entry.name)}:
                    files[key].append(entry.name)
    listing = _listings[folder] = _Listing(changed, now - changed > _COARSEST_CLOCK, files, folders)
    return listing


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


# How long a result is valid: a number of seconds, and a multiple of the search time, as network folders are slow.
_HOLDS = 5.0
_HOLDS_TIMES = 30.0


@dataclass
class _Answer:
    models: frozenset[str] = frozenset()
    until: float = 0.0


_answer = _Answer()


def models_on_disk() -> frozenset[str]:
    """Ids of the models whose files are all installed, bundled ones included.

    Searches at most every five seconds, without network; does not read the files' content.
    """
    now = time.monotonic()
    if now >= _answer.until:
        there = find_all([file for spec in all_specs() for file in spec.files], seems_usable)
        complete = [spec.id for spec in all_specs() if there.issuperset(spec.files)]
        took = time.monotonic() - now
        _answer.models, _answer.until = frozenset(complete), now + took + max(_HOLDS, _HOLDS_TIMES * took)
    return _answer.models


def forget() -> None:
    """Invalidates the list of installed models, after a download."""
    _answer.until = 0.0
