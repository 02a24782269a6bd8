"""Searches for weights files in ComfyUI's model folders, other packs' folders and this machine's caches; lists the models found."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...annotators.registry import all_specs
from ...annotators.specs.base import WeightFile
from ..comfy.host import model_folders
from ..environment import environment
from . import hub
from .integrity import bundled_path, is_usable, seems_usable

PACK_FOLDER = "depth_normal"
_AUX_PACK = "comfyui_controlnet_aux"
_MAX_DEPTH = 5
_COARSEST_CLOCK = 2 * 10**9
"""Nanoseconds between the ticks of the coarsest file system's clock (FAT)."""

# What every repository calls its weights: only the repository tells such files apart.
_GENERIC_NAME = re.compile(r"((diffusion_)?pytorch_model|model|weights|checkpoint)([.-].*)?\.\w+", re.IGNORECASE)


def find_weights(file: WeightFile, usable: Callable[[Path], bool] = is_usable) -> Path | None:
    """Looks for a weights file in every place where users have it, without network and without creating anything.

    The search goes at most five folders deep and ignores the case of names. A file of a generic name ("model.safetensors") counts only
    inside a folder of its repository's name. Files that are empty or cannot be read as weights do not count. Among several in one place,
    the file of the published size wins. A file that is a part of the pack is looked for nowhere else.

    Each folder is read once for all files. A file that is put there later is found all the same: it changes the folder's time.

    Args:
        file: The file.
        usable: Whether a file that was found counts. Those of PyTorch are known to be weights only by torch itself; `seems_usable` looks at
            their index alone, for lists.

    Returns:
        The file, or None.
    """
    if file.bundled:
        return path if (path := bundled_path(file)).is_file() else None
    for folder in _searched(file.folders):
        if usable_path := _find_in(folder, file, usable):
            return usable_path
    return find_in_hub_cache(file, usable)


def find_all(files: Iterable[WeightFile], usable: Callable[[Path], bool] = is_usable) -> frozenset[WeightFile]:
    """Those of many files that `find_weights` finds. The folders are gone through once for all that are nowhere."""
    wanted = {file: [] if file.bundled else _wanted(file) for file in files}
    ends = [end for each in wanted.values() for end in each]
    names = {path.name.lower() for folder in _all_folders() for path in _named(folder, ends)}
    there = set()
    for file, each in wanted.items():
        by_name = file.bundled or any(end.rsplit("/", 1)[-1] in names for end in each)
        if find_weights(file, usable) if by_name else find_in_hub_cache(file, usable):
            there.add(file)
    return frozenset(there)


def find_file(name: str) -> Path:
    """A weights file that the user names: by its whole path, or as it is called in one of the folders that are searched for weights.

    Args:
        name: A path, or the end of one ("mine.safetensors", "some folder/mine.safetensors"); case does not count in the latter.

    Raises:
        FileNotFoundError: There is none of that name; the message lists the folders.
    """
    path = Path(name.strip().strip('"')).expanduser()
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
    """The rank of a path among the names of a file: 0 surest, None not one of them."""
    location = path.absolute().as_posix().lower()
    return next((rank for rank, end in enumerate(_wanted(file)) if location.endswith(end)), None)


def search_places(file: WeightFile) -> list[Path]:
    """The folders that `find_weights` looks through, for messages; those that do not exist included."""
    return list(dict.fromkeys([*_searched(file.folders), *([hub.cache_folder(file)] if file.repo_id else [])]))


def download_folder() -> Path:
    """The folder of the pack's downloads: ComfyUI's `models/depth_normal` (the first configured), or the user's cache."""
    return next(model_folders(PACK_FOLDER), user_cache())


def download_path(file: WeightFile) -> Path:
    """The place of one file below `download_folder`: also where to put a file that was downloaded by hand."""
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
    """The file in the Hugging Face cache, at the wanted revision or else at the newest the user has of `main`."""
    if not file.repo_id or not hub.cache_folder(file).is_dir():
        return None
    cache = hub.cache_folder(file).parent
    for revision in dict.fromkeys((file.revision, "main")):
        cached = hub.library().try_to_load_from_cache(file.repo_id, file.filename, cache, revision, file.repo_type)
        if isinstance(cached, str) and (path := Path(cached)).stat().st_size and usable(path):
            return path
    return None


def _all_folders() -> Iterator[Path]:
    """The folders in which the files of any model may lie."""
    names = dict.fromkeys(name for spec in all_specs() for file in spec.files for name in file.folders)
    yield from dict.fromkeys(_searched(names))


def _searched(names: Iterable[str]) -> Iterator[Path]:
    for name in (PACK_FOLDER, *names):
        yield from model_folders(name)
    yield from _aux_folders()
    yield user_cache()
    yield _torch_hub() / "checkpoints"


def _torch_hub() -> Path:
    """As `torch.hub.get_dir`, without importing torch where nobody has."""
    if hub_module := getattr(sys.modules.get("torch"), "hub", None):
        return Path(hub_module.get_dir())
    home = environment("TORCH_HOME") or os.path.join(environment("XDG_CACHE_HOME") or "~/.cache", "torch")  # noqa: PTH118
    return Path(home).expanduser() / "hub"


def _aux_folders() -> Iterator[Path]:
    """The checkpoint folders of the pack comfyui_controlnet_aux, also where it is switched off."""
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
        location = path.as_posix().lower()
        rank = next((i for i, end in enumerate(wanted) if location.endswith(end)), None)
        if rank is None or not path.is_file():
            continue
        if size := path.stat().st_size:
            candidates.append((size != (file.size or size), rank, len(location), location, path))
    return next((path for *_, path in sorted(candidates) if usable(path)), None)


def _wanted(file: WeightFile) -> list[str]:
    """Lower-case ends of the paths that are this file, the surest first."""
    names = [file.name, *file.aliases]
    wanted = [name for name in names if not _GENERIC_NAME.fullmatch(name)]
    if file.repo_id:
        repo_name = file.repo_id.rsplit("/", 1)[-1]
        # where the repository has it in a folder, there may be others of a generic name in other folders
        wanted = [f"{repo_name}/{name}" for name in (file.filename, *wanted)] + wanted
    return [f"/{name}".lower() for name in dict.fromkeys(wanted)]


@dataclass(frozen=True)
class _Listing:
    """The content of one folder when it was read.

    Attributes:
        changed: The folder's time of change then, in nanoseconds.
        settled: Whether a later change must show in that time: it was older than a file system's clock is coarse.
        files: Names of all that is no folder, by their lower case.
        folders: Names of the folders that are searched.
    """

    changed: int
    settled: bool
    files: Mapping[str, Sequence[str]]
    folders: Sequence[str]


_listings: dict[Path, _Listing] = {}


def _named(folder: Path, wanted: Sequence[str]) -> Iterator[Path]:
    """All that is no folder and has the last name of one of the wanted ends, at most `_MAX_DEPTH` folders deep.

    A folder is read once, at its least depth: there are ways without number through folders that link to each other. A link to a folder
    that was read already is followed only where it has a name that the wanted ends ask for.
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
    """The content of a folder. It is read once, and again after files came or went: that changes the folder's own time.

    Otherwise every folder's names would be read for each model, each time somebody asks for one; now only the folder's time is.
    """
    kept = _listings.get(folder)
    if kept is not None and kept.settled and kept.changed == changed:
        return kept
    now = time.time_ns()
    files: dict[str, tuple[str, ...]] = {}
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                if not entry.name.startswith("."):
                    folders.append(entry.name)
            else:
                key = entry.name.lower()
                files[key] = (*files.get(key, ()), entry.name)
    listing = _listings[folder] = _Listing(changed, now - changed > _COARSEST_CLOCK, files, folders)
    return listing


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


# An answer holds for so many seconds, and for so many times as long as it took: folders of the network take long.
_HOLDS = 5.0
_HOLDS_TIMES = 30.0


@dataclass
class _Answer:
    models: frozenset[str] = frozenset()
    until: float = 0.0


_answer = _Answer()


def models_on_disk() -> frozenset[str]:
    """Ids of the models all of whose files are on this computer, those of the pack itself included.

    The folders are looked through at most every five seconds, without a network; what is in the files is not read.
    """
    now = time.monotonic()
    if now >= _answer.until:
        there = find_all([file for spec in all_specs() for file in spec.files], seems_usable)
        complete = [spec.id for spec in all_specs() if there.issuperset(spec.files)]
        took = time.monotonic() - now
        _answer.models, _answer.until = frozenset(complete), now + took + max(_HOLDS, _HOLDS_TIMES * took)
    return _answer.models


def forget() -> None:
    """Forgets the list of models, after a file has come."""
    _answer.until = 0.0
