"""Files of the Hugging Face hub: address, user settings and place in the hub's cache."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...annotators.specs.base import WeightFile
from ..system import environment, variables_beginning
from .network import Offer, UnexpectedContentError, UnfetchableError, without_credentials

if TYPE_CHECKING:
    from .https import Request

_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOB = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


def library() -> Any:
    """The package huggingface_hub. It reads its settings on import; if they are invalid, an UnfetchableError says which."""
    endpoint = environment("HF_ENDPOINT")
    try:
        _ = urlsplit(endpoint).port
    except ValueError as error:
        raise UnfetchableError(
            f"HF_ENDPOINT is {without_credentials(endpoint)!r}, which is no address ({error}): unset it, "
            "or set it to one such as https://huggingface.co"
        ) from error
    try:
        import huggingface_hub.constants
    except ValueError as error:
        names = ", ".join(variables_beginning("HF_")) or "none that begins with HF_"
        raise UnfetchableError(f"huggingface_hub cannot read its settings ({error}); set in the environment: {names}") from error

    return huggingface_hub


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids downloads."""
    return bool(library().constants.HF_HUB_OFFLINE)


def request(file: WeightFile) -> Request:
    """A file's request: to HF_ENDPOINT, with the user's token."""
    from . import https

    url = _url(file)
    return https.Request(url, _token(), plain_http=https.is_plain_http(url), size=file.size)


def public_url(file: WeightFile) -> str:
    """The file's address without credentials, for messages."""
    return without_credentials(_url(file))


def cache_folder(file: WeightFile) -> Path:
    """The folder of the file's repository in the hub's cache."""
    return Path(library().constants.HF_HUB_CACHE) / f"{file.repo_type}s--{str(file.repo_id).replace('/', '--')}"


def part(file: WeightFile) -> Path:
    """The partial download of a file that goes into the cache, on the same disk."""
    name = "--".join((file.revision, *file.filename.split("/")))
    return cache_folder(file) / "blobs" / f"depth_normal--{name}.part"


def commit_of(file: WeightFile, offer: Offer) -> str:
    """The commit that the hub stated; an UnexpectedContentError if the server stated none: it is no hub."""
    commit = offer.commit or file.revision
    if not _COMMIT.fullmatch(commit):
        raise UnexpectedContentError(f"it is no hub: it names no commit (X-Repo-Commit is {offer.commit!r})")
    return commit


def store(path: Path, file: WeightFile, offer: Offer, sha256: str) -> Path:
    """Moves a file on the cache's disk into the cache, in huggingface_hub's layout (blobs, snapshots, refs); its path in the snapshot."""
    from ...geometry.files.paths import atomic_path, move_over, write_bytes

    folder, commit = cache_folder(file), commit_of(file, offer)
    named = offer.sha256 or offer.etag or ""
    blob = folder / "blobs" / (named if _BLOB.fullmatch(named) else sha256)
    pointer = folder / "snapshots" / commit / file.filename
    pointer.parent.mkdir(parents=True, exist_ok=True)
    move_over(path, blob)
    try:
        with atomic_path(pointer) as temporary:
            temporary.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # no links on this file system or Windows account: store the file itself, as huggingface_hub does
        move_over(blob, pointer)
    if file.revision != commit:
        reference = folder / "refs" / file.revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(reference, commit.encode())
    return pointer


def _token() -> Callable[[], str | None]:
    """Returns a function for the user's token; if the token expires, huggingface_hub renews it over the network."""
    constants, get_token = library().constants, library().get_token  # imported here, as the call comes from another thread

    def token() -> str | None:
        try:
            return None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        except Exception as error:  # an unreadable file, a failed login: types differ by version
            raise UnfetchableError(f"the Hugging Face token cannot be read ({error}). Run `hf auth login`, or set HF_TOKEN") from error

    return token


def _url(file: WeightFile) -> str:
    return library().hf_hub_url(str(file.repo_id), file.filename, repo_type=file.repo_type, revision=file.revision)
