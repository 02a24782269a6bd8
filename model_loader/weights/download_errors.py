"""Exceptions of downloads; each message says what to do."""

from __future__ import annotations

from pathlib import Path

from ...annotators.specs.base import WeightFile, size_in_words
from . import hub
from .disk_space import KEPT_FREE, free_space, is_disk_full
from .find import download_path, search_places
from .network_errors import AddressError, RefusalError, ServerBusyError, SettingError, TokenError, UnexpectedContentError, plain_reason


class DownloadError(RuntimeError):
    """A weights file could not be fetched; the message says why and what to do.

    Attributes:
        reason: The message without the advice of whoever asked for the file.
    """

    __module__ = "depth_normal"  # ComfyUI's page shows it before the message, and the true one is a path

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def advised(self, advice: str) -> DownloadError:
        """The same error with advice as its first sentence, in the place of other advice."""
        error = type(self)(f"{advice}. {self.reason}")
        error.reason = self.reason
        return error


class NoNetworkError(DownloadError):
    """The server cannot be reached, or the network is switched off."""

    __module__ = "depth_normal"


class AccessDeniedError(DownloadError):
    """The server refuses: a licence to accept, a login missing."""

    __module__ = "depth_normal"


class CorruptDownloadError(DownloadError):
    """The server sent something else than the published file; it has been deleted."""

    __module__ = "depth_normal"


class DiskFullError(DownloadError):
    """The file does not fit; nothing of it is left behind."""

    __module__ = "depth_normal"


def source_url(file: WeightFile) -> str:
    """The address of a file, for people and for the log: without the user's name and password."""
    return hub.public_url(file) if file.repo_id else file.url or "nowhere: its authors have not published it"


def explained(error: BaseException, file: WeightFile, root: Path) -> DownloadError:
    """The error a person can act on, for one of a library or of the operating system; the file was to be stored below `root`."""
    status = error.status if isinstance(error, RefusalError) else None
    if is_disk_full(error):
        return disk_full_error(file, root)
    if isinstance(error, OSError) and error.filename is not None:  # only errors of this computer's files name one
        return DownloadError(
            f"{file.name} cannot be stored below {root}: {error}. Make the folder writable, or set DEPTH_NORMAL_HOME or HF_HOME"
        )
    if isinstance(error, UnexpectedContentError):
        return corrupt_error(file, str(error))
    if isinstance(error, AddressError | ServerBusyError | SettingError | TokenError):
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


def offline_error(file: WeightFile) -> NoNetworkError:
    """The error where HF_HUB_OFFLINE is set."""
    return NoNetworkError(
        f"{file.name} cannot be fetched: HF_HUB_OFFLINE forbids it; unset that variable, or {_by_hand(file)}. {_nowhere(file)}"
    )


def unpublished_error(file: WeightFile) -> DownloadError:
    """The error for a file that its authors have not published."""
    return DownloadError(
        f"{file.name} cannot be downloaded: its authors have not published it. Put a file of your own at {download_path(file)}"
    )


def corrupt_error(file: WeightFile, problem: str) -> CorruptDownloadError:
    """The error for content that is not the file; `problem` says how one knows."""
    return CorruptDownloadError(
        f"what {source_url(file)} sent is not the published {file.name}: {problem}. It was deleted; try again. "
        f"If you trust another copy, put it at {download_path(file)} yourself"
    )


def foreign_file_error(file: WeightFile, path: Path, problem: str | None) -> DownloadError:
    """The error for a file that cannot be used, lies where the download belongs, and is not the pack's to replace; `problem` says why."""
    return DownloadError(
        f"{path} cannot be read as weights ({problem}) and was not downloaded by this pack, so it is left as it is: "
        f"move it away to have {file.name} downloaded"
    )


def disk_full_error(file: WeightFile, root: Path, size: int | None = None) -> DiskFullError:
    """The error for a folder without room; `size` is what the server says where the table does not know."""
    size = file.size or size
    needed = f"{size_in_words(size)} are needed" if size else f"the size is not known, and {size_in_words(KEPT_FREE)} are kept free"
    return DiskFullError(
        f"no room for {file.name} in {root}: {needed}, {size_in_words(free_space(root))} are free, or the file system takes no file so "
        "large. Nothing of it was left there; free some space, or set DEPTH_NORMAL_HOME or HF_HOME to another disk"
    )


def _denied(file: WeightFile, error: RefusalError) -> str:
    if not file.repo_id:
        return f"{file.url} refuses access (HTTP {error.status}). You can {_by_hand(file)}"
    token = "the token that was sent gives no access" if error.authorized else "no token was sent"
    # whatever page states the licence: it is accepted on the hub's own
    page = source_url(file).split("/resolve/")[0]
    return (
        f"{source_url(file)} refuses access (HTTP {error.status}; {token}). If the model is gated: accept its licence at {page} with your "
        f"Hugging Face account, then run `hf auth login` or set HF_TOKEN, and try again. Or {_by_hand(file)}"
    )


def _nowhere(file: WeightFile) -> str:
    return f"It is not on this computer (looked in: {', '.join(map(str, search_places(file)))})"


def _by_hand(file: WeightFile) -> str:
    return f"download {source_url(file)} by hand and put it at {download_path(file)}"
