"""One file over plain HTTPS, as release pages serve it: resumed where it broke off, by the standard library alone."""

from __future__ import annotations

import http.client
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
"""Seconds before the first new attempt; each further one waits twice as long."""
_ATTEMPTS = 5
_TIMEOUT = 30
_CHUNK = 2**20
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class UnexpectedContentError(OSError):
    """The server offers something else than the file that was asked for."""


def fetch(url: str, part: Path, size: int | None, report: Callable[[int, int], None]) -> None:
    """Downloads an address into a file, from where an earlier attempt left it.

    A connection that breaks is taken up again; an attempt that brought something does not count. What arrived stays in `part` when the
    network fails for good or `report` raises, with the server's ETag beside it, and the next call goes on from there.

    Args:
        url: https, or http of this very machine.
        part: The file to fill; it is complete when this returns.
        size: Bytes expected, where known.
        report: Called with (bytes there, bytes in all or 0), after each piece and before each pause; may raise to stop.

    Raises:
        UnexpectedContentError: The server offers a web page or another size than expected.
        OSError: urllib's `HTTPError` for an answer of failure, other network errors, or the disk's.
        http.client.HTTPException: The server does not speak HTTP properly.
    """
    _check_address(url)
    failures, received = 0, False
    while True:
        before = _size(part)
        try:
            return _fetch_once(url, part, size, report)
        except _NETWORK_ERRORS as error:
            progressed = _size(part) > before
            received = received or progressed
            failures = 1 if progressed else failures + 1
            if not _may_pass(error) or failures >= (_ATTEMPTS if received else 2):
                raise
            logger.warning("the download of %s broke off (%s); trying again", url, error)
        pause(FIRST_PAUSE * 2 ** (failures - 1), lambda: report(_size(part), size or 0))


def pause(seconds: float, tick: Callable[[], None]) -> None:
    """Waits, with `tick` called ten times a second so that it can stop the wait by raising."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tick()
        time.sleep(min(left, 0.1))


def discard(part: Path) -> None:
    """Removes an unfinished download."""
    part.unlink(missing_ok=True)
    _etag_file(part).unlink(missing_ok=True)


def _fetch_once(url: str, part: Path, size: int | None, report: Callable[[int, int], None]) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "depth-normal", "Accept-Encoding": "identity"})
    etag_file = _etag_file(part)
    start = _size(part)
    # Without the ETag of what is there, nothing says that the rest belongs to the same file.
    if start and etag_file.is_file():
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", etag_file.read_text(encoding="latin-1"))
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            discard(part)
        raise
    with response:
        _check_address(response.url)
        continued = response.status == http.client.PARTIAL_CONTENT
        if continued and not (response.headers["Content-Range"] or "").startswith(f"bytes {start}-"):
            discard(part)
            raise http.client.HTTPException(f"asked for the bytes from {start}, got {response.headers['Content-Range']!r}")
        start = start if continued else 0
        length = response.headers["Content-Length"]
        total = start + int(length) if length and length.isdigit() else None
        _check_offer(response.headers.get_content_type(), total, size)
        if not continued:
            discard(part)
            if (etag := response.headers["ETag"]) and not etag.startswith("W/"):
                etag_file.write_text(etag, encoding="latin-1")
        with part.open("ab") as stream:
            report(start, total or size or 0)
            while chunk := response.read1(_CHUNK):
                stream.write(chunk)
                start += len(chunk)
                report(start, total or size or 0)
    if total is not None and start < total:
        raise ConnectionError(f"the connection closed after {start} of {total} bytes")


def _check_offer(content_type: str, total: int | None, size: int | None) -> None:
    if content_type == "text/html":
        raise UnexpectedContentError("it answers with a web page (HTML) instead of the file")
    if size is not None and total is not None and total != size:
        raise UnexpectedContentError(f"it offers {total} bytes; the published file has {size}")


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")):
        raise OSError(f"{url} is not an https address, and weights are only fetched over https")


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 416, 429)
    return True


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
