"""Downloads weights files: one process at a time, verified before use, with actionable errors."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...annotators.choices import wording
from ...annotators.specs.base import ModelSpec, WeightFile, size_in_words
from ...geometry.files.paths import move_over, write_bytes
from ..comfy.host import folder_paths
from ..system import KEPT_FREE, environment, free_space, is_disk_full, terminal_bar
from . import hub
from .find import download_folder, download_path, find_in_hub_cache, find_weights, search_places
from .integrity import bundled_weights, difference, is_usable, sha256_of, structure_problem, trust
from .network import Offer, RefusalError, UnexpectedContentError, UnfetchableError, plain_reason
from .waiting import locked


class DownloadError(RuntimeError):
    """A weights file could not be downloaded; the message says why and what to do."""

    __module__ = "depth_normal"  # ComfyUI's page shows it before the message; the real one is a path

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason  # the message without the caller's advice

    def advised(self, advice: str) -> DownloadError:
        """A copy with advice as its first sentence, replacing earlier advice."""
        error = type(self)(f"{advice}. {self.reason}")
        error.reason = self.reason
        return error


class NoNetworkError(DownloadError):
    """The server is unreachable, or the network is switched off."""

    __module__ = "depth_normal"


class AccessDeniedError(DownloadError):
    """The server refuses access: a licence to accept, a login missing."""

    __module__ = "depth_normal"


class CorruptDownloadError(DownloadError):
    """The server sent something other than the published file; it was deleted."""

    __module__ = "depth_normal"


class DiskFullError(DownloadError):
    """The file does not fit on the disk; nothing of it is left."""

    __module__ = "depth_normal"


def source_url(file: WeightFile) -> str:
    """A file's address without credentials, for messages."""
    return hub.public_url(file) if file.repo_id else file.url or "nowhere: its authors have not published it"


def explained(error: BaseException, file: WeightFile, root: Path) -> DownloadError:
    """Translates an error of a library or the system into an actionable one; `root` is the target folder."""
    status = error.status if isinstance(error, RefusalError) else None
    if is_disk_full(error):
        return disk_full_error(file, root)
    if isinstance(error, OSError) and error.filename is not None:  # only errors of local files have a filename
        return DownloadError(
            f"{file.name} cannot be stored below {root}: {error}. Make the folder writable, or {wording().store_elsewhere}"
        )
    if isinstance(error, UnexpectedContentError):
        return _corrupt_error(file, str(error))
    if isinstance(error, UnfetchableError):
        return DownloadError(f"{file.name} cannot be fetched: {error}. Or {_by_hand(file)}")
    if isinstance(error, RefusalError) and error.status in (401, 403):
        return AccessDeniedError(_denied(file, error))
    if status in (404, 410):
        return DownloadError(
            f"{source_url(file)} does not exist (HTTP {status}): its publisher moved or deleted it. "
            f"Put {file.name} at {download_path(file)} yourself"
        )
    kind = NoNetworkError if status is None else DownloadError
    return kind(f"{file.name} cannot be fetched: {plain_reason(error)}; try again, or {_by_hand(file)}. {_nowhere(file)}")


def _corrupt_error(file: WeightFile, problem: str) -> CorruptDownloadError:
    return CorruptDownloadError(
        f"what {source_url(file)} sent is not the published {file.name}: {problem}. It was deleted; try again. "
        f"If you trust another copy, put it at {download_path(file)} yourself"
    )


def disk_full_error(file: WeightFile, root: Path, size: int | None = None) -> DiskFullError:
    """The error for lack of disk space; `size` is the server's, for files whose size the table lacks."""
    size = file.size or size
    needed = f"{size_in_words(size)} are needed" if size else f"the size is not known, and {size_in_words(KEPT_FREE)} are kept free"
    return DiskFullError(
        f"no room for {file.name} in {root}: {needed}, {size_in_words(free_space(root))} are free, or the file system takes no file so "
        f"large. Nothing of it was left there; free some space, or {wording().store_elsewhere}"
    )


def _denied(file: WeightFile, error: RefusalError) -> str:
    if not file.repo_id:
        return f"{file.url} refuses access (HTTP {error.status}). You can {_by_hand(file)}"
    token = "the token that was sent gives no access" if error.authorized else "no token was sent"
    # the licence is accepted on the hub's page, wherever its text is
    page = source_url(file).split("/resolve/")[0]
    return (
        f"{source_url(file)} refuses access (HTTP {error.status}; {token}). If the model is gated: accept its licence at {page} with your "
        f"Hugging Face account, then run `hf auth login` or set HF_TOKEN, and try again. Or {_by_hand(file)}"
    )


def _nowhere(file: WeightFile) -> str:
    return f"It is not on this computer (looked in: {', '.join(map(str, search_places(file)))})"


def _by_hand(file: WeightFile) -> str:
    return f"download {source_url(file)} by hand and put it at {download_path(file)}"


logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def download_weights(file: WeightFile, licence: str, licence_url: str | None = None, progress: Progress | None = None) -> Path:
    """Downloads a weights file, verifies it and stores it where `find_weights` finds it.

    Hub files go into the hub's cache, inside ComfyUI into `models/depth_normal/<repository>/`; HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE
    apply. Other files go into `download_folder()`. An interrupted download leaves `.part` and `.part.etag` files, from which the next call
    continues. If another process is downloading the file, waits for its result.

    Args:
        file: The file.
        licence: The weights' licence, for the log.
        licence_url: Where to read it, for the log.
        progress: Called at most ten times a second with (bytes done, total bytes or 0); may raise to stop the download.

    Returns:
        The path of the complete, readable file, verified against the table's size and sha256, else against the hub's.

    Raises:
        NoNetworkError: No connection or no data within `https.Timeouts`, or HF_HUB_OFFLINE is set.
        AccessDeniedError: The server answered 401 or 403.
        CorruptDownloadError: Wrong size, wrong sha256, or not weights.
        DiskFullError: Not enough space.
        DownloadError: Anything else: not published, not found, not writable, ...
        CheckpointError: As for `bundled_weights`.
    """
    if file.bundled:
        return bundled_weights(file)
    if not file.published:
        own = f"Put a file of your own at {download_path(file)}"
        raise DownloadError(f"{file.name} cannot be downloaded: its authors have not published it. {own}")
    if file.repo_id:
        try:
            hub.library()
        except UnfetchableError as error:
            raise DownloadError(f"{file.name} cannot be fetched: {error}") from error
    root = hub.cache_folder(file).parent if _uses_hub_cache(file) else download_folder()
    meter = _Meter(file, progress)
    try:
        with _lock(root, file, meter):
            if there := _present(file, meter):
                return there
            if hub.is_offline():
                variable = next(filter(environment, ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")), "HF_HUB_OFFLINE")
                advice = f"unset that variable, or {_by_hand(file)}. {_nowhere(file)}"
                raise NoNetworkError(f"{file.name} cannot be fetched: {variable} forbids it; {advice}")
            _check_disk_space(file, root, file.size, _part(file))
            terms = f"{licence} ({licence_url})" if licence_url else licence
            logger.info("downloading %s (%s) from %s; licence: %s", file.name, file.size_in_words, source_url(file), terms)
            path = _fetch(file, root, meter)
            trust(path, file)
            return path
    except DownloadError:
        raise
    except (OSError, RuntimeError) as error:
        raise explained(error, file, root) from error
    finally:
        meter.close()


def find_or_download(spec: ModelSpec, file: WeightFile) -> Path:
    """The path of a model's file, downloaded if it is not available locally; raises as `download_weights`."""
    return find_weights(file) or download_weights(file, spec.terms, spec.licence_url)


def find_weights_files(spec: ModelSpec, weights: Path | None) -> list[Path]:
    """All files of a model, by `find_or_download`; `weights`, else a FileNotFoundError, replaces the network's published file."""
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"{weights}: there is no such file")
    return [weights if weights is not None and file is spec.file else find_or_download(spec, file) for file in spec.files]


class _Meter:
    """Reports a download's progress to the caller and the terminal."""

    def __init__(self, file: WeightFile, progress: Progress | None) -> None:
        self.file = file
        self.progress = progress
        self.bar: Any = None
        self._last = 0.0
        self._ended = False

    def report(self, done: int, total: int) -> None:
        """Reports to the caller, at most ten times a second and at the end."""
        now, ends = time.monotonic(), done == total > 0 and not self._ended
        if self.progress and (ends or now - self._last >= 0.1):
            self._last, self._ended = now, self._ended or ends
            self.progress(done, total)

    def show(self, done: int, total: int) -> None:
        """Reports to both."""
        total = total or self.file.size or 0
        if done:
            if self.bar is None:
                self.bar = terminal_bar(total or None, "B", done, desc=self.file.name, unit_scale=True)
            self.bar.update(done - self.bar.n)
        self.report(done, total)

    def close(self) -> None:
        """Closes the terminal's bar."""
        if self.bar is not None:
            self.bar.close()


def _lock(root: Path, file: WeightFile, meter: _Meter) -> AbstractContextManager[None]:
    folder = root / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return locked(folder / f"{_flat_name(file)}.lock", f"downloading {file.name}", lambda: meter.report(0, file.size or 0))


def _flat_name(file: WeightFile) -> str:
    return "--".join((file.repo_id or "web", file.filename)).replace("/", "--")


def _uses_hub_cache(file: WeightFile) -> bool:
    return bool(file.repo_id) and folder_paths() is None


def _part(file: WeightFile) -> Path:
    path = download_path(file)
    return hub.part(file) if _uses_hub_cache(file) else path.with_name(path.name + ".part")


def _present(file: WeightFile, meter: _Meter) -> Path | None:
    """The valid file at its final path. An invalid one is downloaded again if the pack itself put it there, else a DownloadError."""
    if _uses_hub_cache(file):
        return find_in_hub_cache(file)
    path = download_path(file)
    if not path.is_file() or not path.stat().st_size:
        return None

    def tick() -> None:
        meter.report(0, file.size or 0)

    if is_usable(path, tick):
        return path
    if not _is_own(path, file):
        raise DownloadError(
            f"{path} cannot be read as weights ({structure_problem(path, tick)}) and was not downloaded by this pack, so it is left as it "
            f"is: move it away to have {file.name} downloaded"
        )
    return None


def _fetch(file: WeightFile, root: Path, meter: _Meter) -> Path:
    from . import transfer
    from .https import Request

    part = _part(file)
    part.parent.mkdir(parents=True, exist_ok=True)
    request = hub.request(file) if file.repo_id else Request(str(file.url), size=file.size)

    def accept(offer: Offer) -> None:
        _check_offer(file, offer)
        _check_disk_space(file, root, offer.size, part)

    try:
        offer = transfer.fetch(request, part, meter.show, accept)
    except OSError as error:
        if is_disk_full(error) or isinstance(error, UnexpectedContentError):
            transfer.discard(part)
        raise
    published = replace(file, size=file.size or offer.size, sha256=file.sha256 or offer.sha256)
    there = part.stat().st_size

    def tick() -> None:
        meter.report(there, there)

    problem = structure_problem(part, tick) or difference(part, published, tick)
    if problem:
        transfer.discard(part)
        raise _corrupt_error(file, problem)
    sha256 = published.sha256 or sha256_of(part, tick)
    path = hub.store(part, file, offer, sha256) if _uses_hub_cache(file) else _place(part, file, offer, sha256)
    transfer.discard(part)
    return path


def _place(part: Path, file: WeightFile, offer: Offer, sha256: str) -> Path:
    """Moves a complete file to the pack's folder and records its origin."""
    path, note = download_path(file), _note(file)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(note, json.dumps({**asdict(offer), "sha256": sha256}, indent=2).encode())
    move_over(part, path)
    return path


def _note(file: WeightFile) -> Path:
    return download_folder() / ".downloads" / f"{_flat_name(file)}.json"


def _is_own(path: Path, file: WeightFile) -> bool:
    """Whether the pack, or huggingface_hub for it, downloaded the file."""
    by_hub = path.parents[file.filename.count("/")] / ".cache" / "huggingface" / "download" / f"{file.filename}.metadata"
    return _note(file).is_file() or by_hub.is_file()


def _check_offer(file: WeightFile, offer: Offer) -> None:
    if file.size is not None and offer.size is not None and offer.size != file.size:
        raise UnexpectedContentError(f"it offers {offer.size} bytes; the published file has {file.size}")
    if file.sha256 and offer.sha256 and offer.sha256 != file.sha256.lower():
        raise UnexpectedContentError(f"its sha256 is {offer.sha256}, the published file's {file.sha256}")
    if _uses_hub_cache(file):
        hub.commit_of(file, offer)


def _check_disk_space(file: WeightFile, root: Path, size: int | None, part: Path) -> None:
    needed = (size or 0) - (part.stat().st_size if part.is_file() else 0)
    if needed > free_space(root):
        raise disk_full_error(file, root, size)
