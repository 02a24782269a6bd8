"""Parses responses of servers and explains network errors."""

from __future__ import annotations

import errno
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

_LONGEST_LINE = 200
_UNREACHABLE = (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)


class NetworkError(OSError):
    """A request failed on its way or at the server."""

    def __init__(self, message: str, *, connected: bool = True, temporary: bool = True) -> None:
        super().__init__(message)
        self.connected = connected  # whether a connection to the server was established
        self.temporary = temporary  # whether another attempt can succeed


class RefusalError(NetworkError):
    """The server answered with an HTTP error."""

    def __init__(self, status: int, reason: str, retry_after: str | None = None, *, authorized: bool = False) -> None:
        super().__init__(f"HTTP Error {status}: {reason}", temporary=status >= 500 or status in (408, 416, 429))
        self.status = status
        self.retry_after = retry_after
        self.authorized = authorized  # whether the request carried credentials


class UnfetchableError(OSError):
    """A setting, token or address is not accepted, or the server is busy for long: the message says why. Another attempt does not help."""


class UnexpectedContentError(OSError):
    """The server offers something other than the requested file."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its chain of causes."""
    while error is not None:
        yield error
        context = None if error.__suppress_context__ else error.__context__
        # urllib3 passes some errors only as an argument
        error = error.__cause__ or context or next((each for each in error.args if isinstance(each, BaseException)), None)


def plain_reason(error: BaseException) -> str:
    """The root cause of a failed request in plain words; else the library's message."""
    cause = error
    for cause in causes(error):
        if isinstance(cause, NetworkError):
            return str(cause)
    if isinstance(cause, socket.gaierror):
        return "the server's name could not be looked up (is there a network?)"
    if isinstance(cause, ConnectionRefusedError):
        return "the server refused the connection (is a proxy or firewall in between?)"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {cause.verify_message} (is the clock right? is a proxy in between?)"
    if isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
        return "the server cannot be reached (is there a network?)"
    return without_credentials(str(cause).strip()) or type(cause).__name__


def without_credentials(text: str) -> str:
    """A text whose addresses are stripped of credentials and query strings."""
    without_name = re.sub(r"(\w+://)\S*@", r"\1", text)
    return re.sub(r"(\w+://[^\s?]+)\?[^\s'\"]*", r"\1", without_name)


def in_one_line(error: BaseException) -> str:
    """An exception's message in one line, truncated for the log."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _LONGEST_LINE else words[: _LONGEST_LINE - 3] + "..."


if TYPE_CHECKING:
    from requests import Response

LONGEST_WAIT = 60.0
"""Longest wait, in seconds, that a busy server may request."""
_MESSAGES = {"text/html": "a web page (HTML)", "application/json": "a message (JSON)"}


class WrongRangeError(NetworkError):
    """The server does not continue with the rest of the partial file."""


@dataclass(frozen=True)
class Offer:
    """A server's description of a file."""

    url: str  # the requested address, without credentials
    size: int | None = None  # bytes of the whole file; None if not stated
    etag: str | None = None  # without quotes; None if absent or weak
    sha256: str | None = None  # hex digest, if a hub states it
    commit: str | None = None  # the commit in the hub's repository


def read_offer(response: Response, url: str, start: int, known: tuple[str, str]) -> tuple[Offer, int]:
    """Reads the headers of a response and its redirects: the offer, and the file offset of the body.

    Args:
        response: The final response.
        url: The first requested address, without credentials.
        start: The requested first byte.
        known: ETag and hub sha256 of the bytes before it, each empty if unknown.

    Raises:
        UnexpectedContentError: A web page, JSON, compressed content, or another size than the hub's.
        WrongRangeError: Not the rest of the partial file.
    """
    headers = response.headers
    continued = response.status_code == HTTPStatus.PARTIAL_CONTENT
    content_range = headers.get("Content-Range", "no Content-Range")
    first = re.match("bytes ([0-9]+)-", content_range)
    if continued and not (first and parsed_number(first[1]) == start):
        raise WrongRangeError(f"asked for the bytes from {start}, got {content_range[:80]!r}")
    if (kind := headers.get("Content-Type", "").partition(";")[0].strip().lower()) in _MESSAGES:
        raise UnexpectedContentError(f"it answers with {_MESSAGES[kind]} instead of the file")
    if (encoding := headers.get("Content-Encoding", "identity").strip().lower()) not in ("identity", ""):
        raise UnexpectedContentError(f"it answers with compressed content ({encoding[:80]!r}), which was not asked for")
    start = start if continued else 0
    length, whole = parsed_number(headers.get("Content-Length")), parsed_number(_of_first(response, "X-Linked-Size"))
    size = None if length is None else start + length
    stated = size if whole is None else whole
    if size is not None and stated != size:
        raise UnexpectedContentError(f"it sends {size} bytes of a file that has {stated}")
    etag, commit = headers.get("ETag", ""), _of_first(response, "X-Repo-Commit")
    # a hub names large files by their sha256; other servers' ETags may be anything
    digest = _of_first(response, "X-Linked-Etag") or (commit and etag.removeprefix("W/").strip('"'))
    offer = Offer(
        url=url,
        size=stated,
        etag=None if etag.startswith("W/") else etag.strip('"') or None,
        sha256=digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None,
        commit=commit or None,
    )
    if start and not _is_same_content(offer, *known):
        raise WrongRangeError("the file changed on the server")
    return offer, start


def parsed_number(value: str | None) -> int | None:
    """A header's number; None if absent or longer than any file size."""
    return int(value) if value and re.fullmatch(r"\s*[0-9]{1,18}\s*", value) else None


def requested_wait(error: BaseException) -> float | None:
    """Seconds to wait by a refusal's Retry-After, a number or a date; None if absent. An UnfetchableError if above `LONGEST_WAIT`."""
    value = error.retry_after if isinstance(error, RefusalError) else None
    seconds = parsed_number(value)
    if value and seconds is None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, OSError):  # no date, or out of the clock's range
            return None
    if seconds is None:
        return None
    if seconds > LONGEST_WAIT:
        status = getattr(error, "status", "")
        raise UnfetchableError(f"the server is busy (HTTP {status}) and asks to wait {seconds:.0f} s: try again then") from error
    return max(float(seconds), 0.0)


def _of_first(response: Response, name: str) -> str:
    """A header of the first response that has it: the hub's own, before it redirects to storage."""
    headers = (each.headers[name] for each in (*response.history, response) if each.headers.get(name))
    return next(headers, "").removeprefix("W/").strip('"')


def _is_same_content(offer: Offer, etag: str, sha256: str) -> bool:
    if offer.sha256 and sha256:
        return offer.sha256 == sha256
    return bool(etag) and offer.etag == etag
