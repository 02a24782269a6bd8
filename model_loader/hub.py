"""Files of the Hugging Face hub: their address, what the user's settings say, and their place in its cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..annotators.base import WeightFile
from ..geometry.files.paths import atomic_path, write_bytes
from . import https
from .https import Offer, Request, UnexpectedContentError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOB = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids any download."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def request(file: WeightFile) -> Request:
    """How to ask for a file: of HF_ENDPOINT, with the user's token."""
    from huggingface_hub.utils import build_hf_headers

    url = _url(file)
    token = {name.lower(): value for name, value in build_hf_headers().items()}.get("authorization")
    return Request(url, {"Authorization": token} if token else {}, plain_http=https.is_plain_http(url))


def public_url(file: WeightFile) -> str:
    """The file's address for people and for the log."""
    return https.without_credentials(_url(file))


def cache_folder(file: WeightFile) -> Path:
    """Where the cache keeps the file's repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{file.repo_type}s--{str(file.repo_id).replace('/', '--')}"


def part(file: WeightFile) -> Path:
    """Where a file grows that goes into the cache: on the same disk as its place there."""
    name = "--".join((file.revision, *file.filename.split("/")))
    return cache_folder(file) / "blobs" / f"depth_normal--{name}.part"


def commit_of(file: WeightFile, offer: Offer) -> str:
    """The commit that the hub answered with.

    Raises:
        UnexpectedContentError: It names none: it is no hub.
    """
    commit = offer.commit or file.revision
    if not _COMMIT.fullmatch(commit):
        raise UnexpectedContentError(f"it is no hub: it names no commit (X-Repo-Commit is {offer.commit!r})")
    return commit


def store(path: Path, file: WeightFile, offer: Offer, sha256: str) -> Path:
    """Moves a complete file into the cache, where huggingface_hub finds it too: blobs, snapshots, refs.

    Args:
        path: The file, on the cache's disk.
        file: What it is.
        offer: What the hub said of it.
        sha256: Its hex digest.

    Returns:
        Its place in the snapshot.
    """
    folder, commit = cache_folder(file), commit_of(file, offer)
    named = offer.sha256 or offer.etag or ""
    blob = folder / "blobs" / (named if _BLOB.fullmatch(named) else sha256)
    pointer = folder / "snapshots" / commit / file.filename
    pointer.parent.mkdir(parents=True, exist_ok=True)
    path.replace(blob)
    try:
        with atomic_path(pointer) as temporary:
            temporary.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # file systems and Windows accounts without links: the file itself, as huggingface_hub does
        blob.replace(pointer)
    if file.revision != commit:
        reference = folder / "refs" / file.revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(reference, commit.encode())
    return pointer


def _url(file: WeightFile) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(str(file.repo_id), file.filename, repo_type=file.repo_type, revision=file.revision)
