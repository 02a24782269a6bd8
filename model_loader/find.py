"""Where weight files may already lie: ComfyUI's model folders, other packs' folders, and the caches of this machine."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch

from ..annotators import base
from ..annotators.base import WeightFile
from .verify import is_usable

PACK_FOLDER = "depth_normal"
BUNDLED_FOLDER = Path(base.__file__).parent
_AUX_PACK = "comfyui_controlnet_aux"
_MAX_DEPTH = 5

# What every repository calls its weights: only the repository tells such files apart.
_GENERIC_NAME = re.compile(r"((diffusion_)?pytorch_model|model|weights|checkpoint)([.-].*)?\.\w+", re.IGNORECASE)


def find_weights(file: WeightFile) -> Path | None:
    """Looks for a weights file in every place where users have it, without network and without creating anything.

    Names are compared without case, at most five folders deep. Files of generic names ("model.safetensors") count only inside a folder
    of their repository's name. Files that are empty or cannot be read as weights do not count; among several of one place, the file of
    the published size wins. A file that is a part of the pack is nowhere else.

    Returns:
        The file, or None.
    """
    if file.bundled:
        return path if (path := bundled_path(file)).is_file() else None
    for folder in _folders(file):
        if found := _find_in(folder, file):
            return found
    return find_in_hub_cache(file)


def bundled_path(file: WeightFile) -> Path:
    """Where a file is that is a part of the pack."""
    return BUNDLED_FOLDER / file.name


def search_places(file: WeightFile) -> list[Path]:
    """The folders that `find_weights` looks through, for messages; those that do not exist included."""
    return [*_folders(file), *([hub_cache_folder(file)] if file.repo_id else [])]


def download_folder() -> Path:
    """Where the pack keeps what it downloads: ComfyUI's `models/depth_normal` (the first configured), or the user's cache."""
    return next(_comfyui_folders(PACK_FOLDER), user_cache())


def download_path(file: WeightFile) -> Path:
    """The place of one file below `download_folder`: also where to put a file that was downloaded by hand."""
    return download_folder() / file.repo_id / file.filename if file.repo_id else download_folder() / file.name


def user_cache() -> Path:
    """The pack's folder in the user's cache; the environment variable DEPTH_NORMAL_HOME overrides it."""
    if home := os.environ.get("DEPTH_NORMAL_HOME"):
        return Path(home).expanduser()
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        root = "~/Library/Caches"
    else:
        root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / PACK_FOLDER


def folder_paths() -> ModuleType | None:
    """ComfyUI's module of that name where ComfyUI runs; never imported from here, for any other program may have one."""
    module = sys.modules.get("folder_paths")
    return module if hasattr(module, "get_folder_paths") else None


def hub_cache_folder(file: WeightFile) -> Path:
    """Where the Hugging Face cache keeps the file's repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{file.repo_type}s--{str(file.repo_id).replace('/', '--')}"


def find_in_hub_cache(file: WeightFile) -> Path | None:
    """The file in the Hugging Face cache, at the wanted revision or else at the newest the user has of `main`."""
    if not file.repo_id:
        return None
    from huggingface_hub import try_to_load_from_cache

    for revision in dict.fromkeys((file.revision, "main")):
        found = try_to_load_from_cache(file.repo_id, file.filename, revision=revision, repo_type=file.repo_type)
        if isinstance(found, str) and (path := Path(found)).stat().st_size and is_usable(path):
            return path
    return None


def _folders(file: WeightFile) -> Iterator[Path]:
    for name in (PACK_FOLDER, *file.folders):
        yield from _comfyui_folders(name)
    yield from _aux_folders()
    yield user_cache()
    yield Path(torch.hub.get_dir()) / "checkpoints"


def _comfyui_folders(name: str) -> Iterator[Path]:
    """The folders that ComfyUI has under a name; packs also fill folders of `models` that nobody registers."""
    module = folder_paths()
    if module is None:
        return
    try:
        folders = [Path(folder) for folder in module.get_folder_paths(name)]
    except KeyError:
        folders = []
    yield from dict.fromkeys((*folders, Path(module.models_dir) / name))


def _aux_folders() -> Iterator[Path]:
    """The checkpoint folders of the pack comfyui_controlnet_aux, also where it is switched off."""
    if folder := os.environ.get("AUX_ANNOTATOR_CKPTS_PATH"):
        yield Path(folder).expanduser()
    for custom_nodes in _comfyui_folders("custom_nodes"):
        for parent in (custom_nodes, custom_nodes / ".disabled"):
            for pack in sorted(parent.iterdir()) if parent.is_dir() else ():
                if pack.name.lower().replace("-", "_").startswith(_AUX_PACK) and pack.is_dir():
                    yield from dict.fromkeys((_aux_configured(pack), pack / "ckpts"))


def _aux_configured(pack: Path) -> Path:
    """What `annotator_ckpts_path` in the pack's config.yaml says, relative to the pack."""
    try:
        config = (pack / "config.yaml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        config = ""
    line = re.search(r"""^annotator_ckpts_path:\s*(?:"(.+?)"|'(.+?)'|([^\s#].*?))\s*(?:#.*)?$""", config, re.MULTILINE)
    return pack / next(filter(None, line.groups())) if line else pack / "ckpts"


def _find_in(folder: Path, file: WeightFile) -> Path | None:
    wanted = _wanted(file)
    candidates = []
    for path in _walk(folder):
        location = path.as_posix().lower()
        rank = next((i for i, name in enumerate(wanted) if location.endswith(name)), None)
        if rank is None or not path.is_file():
            continue
        if size := path.stat().st_size:
            candidates.append((size != (file.size or size), rank, len(location), location, path))
    return next((path for *_, path in sorted(candidates) if is_usable(path)), None)


def _wanted(file: WeightFile) -> list[str]:
    """Lower-case ends of the paths that are this file, the surest first."""
    names = [file.name, *file.aliases]
    wanted = [name for name in names if not _GENERIC_NAME.fullmatch(name)]
    if file.repo_id:
        repo_name = file.repo_id.rsplit("/", 1)[-1]
        wanted = [f"{repo_name}/{name}" for name in (file.filename, *names)] + wanted
    return [f"/{name}".lower() for name in dict.fromkeys(wanted)]


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder, followlinks=True):
        depth = len(Path(root).relative_to(folder).parts)
        folders[:] = [] if depth >= _MAX_DEPTH else sorted(name for name in folders if not name.startswith("."))
        for name in names:
            yield Path(root, name)
