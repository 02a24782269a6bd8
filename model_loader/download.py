"""Fetching weight files: one process at a time, checked before anybody sees them, with errors that say what to do."""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ..annotators.base import CheckpointError, WeightFile
from . import release
from .checkpoint import looks_like_html
from .download_errors import (
    DownloadError,
    corrupt,
    disk_full,
    explained,
    free_space,
    is_disk_full,
    is_local,
    offline,
    source_url,
    status_of,
)
from .find import bundled_path, download_folder, download_path, find_in_hub_cache, folder_paths, hub_cache_folder

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

_ATTEMPTS = 3
_verdicts: dict[tuple[str, int, int, WeightFile], bool] = {}


def download_weights(file: WeightFile, licence: str, licence_url: str | None = None, progress: Progress | None = None) -> Path:
    """Downloads a weights file, checks it and puts it where `find_weights` finds it.

    Hub files go through huggingface_hub (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and its cache hold): outside ComfyUI into its cache, inside
    into `models/depth_normal/<repository>/`. Release files come by HTTPS into `download_folder()` and are resumed after a break. When
    another process is fetching the same file, this one waits and takes what came.

    Args:
        file: What to fetch.
        licence: Name of the weights' licence, for the log.
        licence_url: Where to read and accept it.
        progress: Called at most ten times a second with (bytes done, bytes in all or 0); what it raises stops the download.

    Returns:
        The file, complete, with the published size and sha256 where these are known.

    Raises:
        NoNetworkError: No connection, or HF_HUB_OFFLINE is set.
        AccessDeniedError: The server answered 401 or 403.
        CorruptDownloadError: Wrong size, wrong sha256, or a web page instead of the file.
        DiskFullError: Not enough space.
        DownloadError: Anything else: not found, no right to write there, ...
        CheckpointError: As `bundled_weights`.
    """
    if file.bundled:
        return bundled_weights(file)
    from huggingface_hub import constants

    root = hub_cache_folder(file).parent if _uses_hub_cache(file) else download_folder()
    meter = _Meter(file, progress)
    try:
        with _lock(root, file, meter):
            if there := _present(file):
                return there
            if constants.HF_HUB_OFFLINE:
                raise offline(file)
            _check_disk_space(file, root)
            terms = f"{licence} ({licence_url})" if licence_url else licence
            size = f"{file.size / 1e6:.1f} MB" if file.size else "size unknown"
            logger.info("downloading %s (%s) from %s; licence: %s", file.name, size, source_url(file), terms)
            path = _fetch_from_hub(file, meter) if file.repo_id else _fetch_release(file, meter)
            _verdicts[_key(path, file)] = True
            return path
    except DownloadError:
        raise
    except (OSError, RuntimeError, HTTPException, *_http_errors()) as error:
        raise explained(error, file, root, licence_url) from error
    finally:
        meter.close()


def bundled_weights(file: WeightFile) -> Path:
    """A file that is a part of the pack, complete and unchanged.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    path = bundled_path(file)
    problem = _difference(path, file) if path.is_file() else "it is missing"
    if problem:
        raise CheckpointError(f"{path} is not the file that the pack came with: {problem}. Install the pack again")
    return path


def verify(path: Path, file: WeightFile) -> bool:
    """Compares a file that the user brought with the published one; a difference is logged as a warning, never an error.

    A file of another extension is a conversion and is not compared; one in the Hugging Face cache is believed by the name of its blob,
    which is its sha256. The others are hashed once per process.

    Returns:
        False if it differs in size or sha256.
    """
    key = _key(path, file)
    if key not in _verdicts:
        converted = path.suffix.lower() != Path(file.name).suffix.lower()
        from_hub = path.is_symlink() and path.readlink().name == file.sha256
        problem = None if converted or from_hub else _difference(path, file)
        if problem:
            logger.warning(
                "%s is not the published %s: %s. It is used all the same; delete it to have it downloaded", path, file.name, problem
            )
        _verdicts[key] = problem is None
    return _verdicts[key]


def _key(path: Path, file: WeightFile) -> tuple[str, int, int, WeightFile]:
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size, file


class _Meter:
    """Tells the caller, and for release files the terminal, how far a download is."""

    def __init__(self, file: WeightFile, progress: Progress | None) -> None:
        self.file = file
        self.progress = progress
        self.bar: Any = None
        self._last = 0.0

    def report(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.progress and (now - self._last >= 0.1 or done == total):
            self._last = now
            self.progress(done, total)

    def show(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(desc=self.file.name, total=total or None, initial=done, unit="B", unit_scale=True, disable=None)
        self.bar.update(done - self.bar.n)
        self.report(done, total)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def hub_bar(self) -> type:
        """huggingface_hub's own bar, reporting as well."""
        from huggingface_hub.utils import tqdm as hub_tqdm

        meter = self

        class ReportingBar(hub_tqdm):
            done: float = 0

            def update(self, n: float | None = 1) -> bool | None:
                self.done += n or 0
                meter.report(int(self.done), int(self.total or 0))
                return super().update(n)

        return ReportingBar


@contextmanager
def _lock(root: Path, file: WeightFile, meter: _Meter) -> Iterator[None]:
    from filelock import FileLock, Timeout

    folder = root / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ("--".join((file.repo_id or "release", file.filename)).replace("/", "--") + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is downloading %s; waiting for it", file.name)
        while not lock.is_locked:
            meter.report(0, file.size or 0)
            with suppress(Timeout):
                lock.acquire(timeout=0.2)
    try:
        yield
    finally:
        lock.release()


def _uses_hub_cache(file: WeightFile) -> bool:
    return bool(file.repo_id) and folder_paths() is None


def _present(file: WeightFile) -> Path | None:
    if _uses_hub_cache(file):
        return find_in_hub_cache(file)
    path = download_path(file)
    return path if path.is_file() and path.stat().st_size else None


def _fetch_from_hub(file: WeightFile, meter: _Meter) -> Path:
    from huggingface_hub import hf_hub_download

    options: dict[str, Any] = {
        "local_dir": None if _uses_hub_cache(file) else _hub_folder(file),
        "revision": file.revision,
        "repo_type": file.repo_type,
    }
    if "tqdm_class" in inspect.signature(hf_hub_download).parameters:  # huggingface_hub >= 1
        options["tqdm_class"] = meter.hub_bar()
    path = _retrying_hub(lambda: hf_hub_download(str(file.repo_id), file.filename, **options), file, meter)
    if problem := _difference(path, file):
        _delete_chain(path)
        raise corrupt(file, problem)
    return path


def _retrying_hub(download: Callable[[], str], file: WeightFile, meter: _Meter) -> Path:
    """The hub client takes up some broken connections and not others, by version."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    failures = 0
    while True:
        try:
            return Path(download())
        except (OSError, RuntimeError, *_http_errors()) as error:
            failures += 1
            if failures == _ATTEMPTS or isinstance(error, HfHubHTTPError | EntryNotFoundError) or is_local(error):
                if is_disk_full(error) or status_of(error) == 416:
                    _discard_incomplete(file)
                raise
            logger.warning("the download of %s broke off (%s); trying again", file.name, error)
        release.pause(release.FIRST_PAUSE * failures, lambda: meter.report(0, file.size or 0))


def _discard_incomplete(file: WeightFile) -> None:
    """Removes what huggingface_hub < 1 would try to resume."""
    for path in _hub_folder(file).rglob("*.incomplete"):
        path.unlink(missing_ok=True)


def _hub_folder(file: WeightFile) -> Path:
    return hub_cache_folder(file) if _uses_hub_cache(file) else download_folder() / str(file.repo_id)


def _delete_chain(path: Path) -> None:
    """Deletes a file and, where it is a link into a cache of blobs, all that it leads to."""
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


def _fetch_release(file: WeightFile, meter: _Meter) -> Path:
    path = download_path(file)
    part = path.with_name(path.name + ".part")
    try:
        release.fetch(str(file.url), part, file.size, meter.show)
    except OSError as error:
        if is_disk_full(error):
            release.discard(part)
        raise
    if problem := _difference(part, file):
        release.discard(part)
        raise corrupt(file, problem)
    part.replace(path)
    release.discard(part)
    return path


def _difference(path: Path, file: WeightFile) -> str | None:
    """In words, what distinguishes a file from the published one; None where nothing known does."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"it has {size} bytes, the published file {file.size}"
    if file.sha256:
        found = _sha256(path)
        return None if found == file.sha256.lower() else f"its sha256 is {found}, the published file's {file.sha256}"
    with path.open("rb") as stream:
        return "it is a web page (HTML)" if looks_like_html(stream.read(512)) else None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _check_disk_space(file: WeightFile, root: Path) -> None:
    part = root / f"{file.name}.part"
    needed = (file.size or 0) - (part.stat().st_size if part.is_file() else 0)
    if needed > free_space(root):
        raise disk_full(file, root)


def _http_errors() -> tuple[type[BaseException], ...]:
    """What huggingface_hub's HTTP library raises: requests, httpx or another, by version."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__
