"""Downloads one file: resumable, and cancellable at any moment."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from ..system import KEPT_FREE, free_space
from .https import Request, Timeouts, checked, exchange
from .network import NetworkError, Offer, UnexpectedContentError, WrongRangeError, requested_wait
from .waiting import Background

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
"""Seconds before the first retry; doubles each time."""
_ATTEMPTS = 5

Report = Callable[[int, int], None]


def fetch(request: Request, part: Path, report: Report, accept: Callable[[Offer], None]) -> Offer:
    """Downloads an address into a file, continuing a partial download.

    Reconnects when a connection breaks; attempts that made progress do not count as failures. If the network fails for good or the caller
    stops, `part` keeps the data, with its ETag beside it, and the next call continues.

    Args:
        request: The request.
        part: The file to fill; complete when this returns.
        report: Called with (bytes done, total bytes or 0) at least ten times a second, whatever it waits for; may raise to stop.
        accept: Called with the server's offer before the first byte is written; raises to refuse it.

    Returns:
        The server's description of the file.

    Raises:
        OSError: An error of `network` (UnexpectedContentError also for too many bytes, and for repeatedly too few), a TimeoutError without
            an answer, or a disk's, also if a file of unknown size would leave less than `KEPT_FREE`.
    """
    attempts, timeouts = _Attempts(part, _size(part)), Timeouts.from_environment()
    deadline, has_connected = time.monotonic() + timeouts.connect, False
    while True:
        attempts.start = None
        try:
            return _fetch_once(request, attempts, report, accept, timeouts)
        except (NetworkError, TimeoutError) as error:
            attempts.note(error)
            wait = requested_wait(error)
            most = _ATTEMPTS if attempts.received or wait is not None else 2
            has_connected = has_connected or getattr(error, "connected", False)
            in_time = has_connected or time.monotonic() < deadline  # without any network, the user should not wait long
            if not getattr(error, "temporary", True) or attempts.failures >= most or not in_time:
                raise
            wait = FIRST_PAUSE * 2 ** (attempts.failures - 1) if wait is None else wait
            logger.warning("the download broke off: %s; trying again in %.0f s", error, wait, extra={"note": None})
        pause(wait, lambda: report(_size(part), 0))


def pause(seconds: float, tick: Callable[[], None]) -> None:
    """Sleeps, calling `tick` ten times a second; `tick` may raise to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tick()
        time.sleep(min(left, 0.1))


def discard(part: Path) -> None:
    """Removes a partial download."""
    part.unlink(missing_ok=True)
    _etag_file(part).unlink(missing_ok=True)


@dataclass
class _Attempts:
    """State of the attempts at one file."""

    part: Path  # the file to fill
    furthest: int  # the most bytes that any attempt reached
    start: int | None = None  # the offset that the current attempt continues from; None before the server's answer
    failures: int = 0  # number of attempts in a row without progress
    received: bool = False  # whether any attempt received data

    def note(self, error: Exception) -> None:
        """Counts an attempt that broke off; an UnexpectedContentError if it started over and ended where the last did: so does the file.

        An attempt that continues the last one and makes progress is no failure. One that starts over is: otherwise a server that cannot
        resume and always hangs up would be retried forever.
        """
        there = _size(self.part)
        came = self.start is not None and there > self.start
        if came and self.start == 0 and there == self.furthest:
            raise UnexpectedContentError(f"it ends after {there} bytes each time ({error})") from error
        self.received = self.received or came
        self.failures = 1 if came and self.start and there > self.furthest else self.failures + 1
        self.furthest = max(self.furthest, there)


def _fetch_once(request: Request, attempts: _Attempts, report: Report, accept: Callable[[Offer], None], timeouts: Timeouts) -> Offer:
    part = attempts.part
    there, known = _size(part), _read_names(part)
    total = 0
    host = checked(request.url, request).host

    def tick() -> None:
        report(there, total)

    def until(seconds: float, complaint: str) -> tuple[Callable[[], None], float, str]:
        return tick, time.monotonic() + seconds, f"{complaint} within {seconds:g} seconds"

    with Background(exchange(request, there if any(known) else 0, known, timeouts)) as answer:
        try:
            answer.get(*until(timeouts.connect, f"no connection to {host}"))
            # requests has timeouts for each step but name resolution; this one covers all
            offer, start = answer.get(*until(timeouts.connect + timeouts.read, f"{host} did not answer"))
        except NetworkError as error:
            if isinstance(error, WrongRangeError) or getattr(error, "status", None) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                discard(part)
            raise
        accept(offer)
        if start != there or not there:
            discard(part)
            _write_names(part, offer)
        there = attempts.start = start
        size = request.size if offer.size is None else offer.size
        total = size or 0
        with part.open("ab") as stream:
            tick()
            try:
                while chunk := answer.get(tick, math.inf, ""):
                    _check_room(part, there + len(chunk), size)
                    stream.write(chunk)
                    there += len(chunk)
                    tick()
            except NetworkError as error:
                raise NetworkError(f"{error} after {there}{f' of {size}' if size else ''} bytes", temporary=error.temporary) from error
    if size is not None and there != size:  # urllib3 1.26 does not report this
        raise NetworkError(f"the connection closed after {there} of {size} bytes")
    return offer


def _check_room(part: Path, there: int, size: int | None) -> None:
    """Stops a body that is longer than the file, or of unknown length on a nearly full disk."""
    if size is not None and there > size:
        raise UnexpectedContentError(f"it sends more than the {size} bytes that the file has")
    if size is None and free_space(part.parent) < KEPT_FREE:
        raise OSError(errno.ENOSPC, f"{there} bytes came, the size of the file is not known, and less than {KEPT_FREE} bytes are free")


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _read_names(part: Path) -> tuple[str, str]:
    """ETag and hub sha256 of the data in `part`, each empty if unknown."""
    try:
        lines = [line.strip().strip('"') for line in _etag_file(part).read_text(encoding="latin-1").splitlines()]
    except FileNotFoundError:
        lines = []
    etag, sha256 = [*lines, "", ""][:2]
    return etag, sha256


def _write_names(part: Path, offer: Offer) -> None:
    if offer.etag or offer.sha256:
        _etag_file(part).write_text(f"{offer.etag or ''}\n{offer.sha256 or ''}\n", encoding="latin-1")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
