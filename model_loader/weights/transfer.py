"""Transfers one file from a server: resumable, and cancelled at once whatever it waits for."""

from __future__ import annotations

import errno
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from .disk_space import KEPT_FREE, free_space
from .https import Request, Timeouts, checked, exchange
from .network import NetworkError, Offer, UnexpectedContentError, WrongRangeError, requested_wait
from .waiting import Background

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
"""Seconds before the first new attempt; each further one waits twice as long."""
_ATTEMPTS = 5

Report = Callable[[int, int], None]


def fetch(request: Request, part: Path, report: Report, accept: Callable[[Offer], None]) -> Offer:
    """Downloads an address into a file, from where an earlier attempt left it.

    A connection that breaks is taken up again; an attempt that went on and came further does not count. What arrived stays in `part` when
    the network fails for good or the caller stops, with the content's name beside it, and the next call goes on from there.

    Args:
        request: What to fetch.
        part: The file to fill; it is complete when this returns.
        report: Called with (bytes there, bytes in all or 0) at least ten times a second, whatever is waited for; may raise to stop.
        accept: Called with the server's offer before its first byte is kept; raises to refuse it.

    Returns:
        What the server said of the file.

    Raises:
        UnexpectedContentError: The server offers a web page, JSON, or another size than the hub said, or sends too much or never all.
        AddressError: An address that is not https, or that is malformed.
        TokenError: The user's token cannot be read, or is malformed.
        SettingError: A time-out or a proxy in the environment cannot be used.
        ServerBusyError: The server asks to wait for longer than `network.LONGEST_WAIT`.
        NetworkError: The network or the server failed; `RefusalError` where it answered with a status of failure.
        TimeoutError: No answer in all the time that the time-outs allow.
        OSError: The disk's: also where a file of unknown size would leave less than `KEPT_FREE`.
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
            in_time = has_connected or time.monotonic() < deadline  # who has no network at all shall not wait for long
            if not getattr(error, "temporary", True) or attempts.failures >= most or not in_time:
                raise
            wait = FIRST_PAUSE * 2 ** (attempts.failures - 1) if wait is None else wait
            logger.warning("the download broke off: %s; trying again in %.0f s", error, wait, extra={"note": None})
        pause(wait, lambda: report(_size(part), 0))


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


@dataclass
class _Attempts:
    """The progress of the attempts at one file.

    Attributes:
        part: The file that they fill.
        furthest: The most bytes that any of them reached.
        start: The byte that the current one continues from; None before its server said so.
        failures: How many in a row brought the file no further.
        received: Whether any of them brought anything.
    """

    part: Path
    furthest: int
    start: int | None = None
    failures: int = 0
    received: bool = False

    def note(self, error: Exception) -> None:
        """Counts an attempt that broke off.

        One that goes on from where the last ended and comes further is no failure. One that begins anew is: a server that cannot go on
        and always hangs up would be asked for ever.

        Raises:
            UnexpectedContentError: It began anew and ended at the same byte as one before: there is no more to come.
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
            # requests has time-outs for each step but the look-up of the name; this is one for all of them
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
    if size is not None and there != size:  # urllib3 1.26 says nothing
        raise NetworkError(f"the connection closed after {there} of {size} bytes")
    return offer


def _check_room(part: Path, there: int, size: int | None) -> None:
    """Ends a body that does not end by itself.

    Raises:
        UnexpectedContentError: It is longer than the file.
        OSError: ENOSPC, where nobody knows how long it is and the disk is nearly full.
    """
    if size is not None and there > size:
        raise UnexpectedContentError(f"it sends more than the {size} bytes that the file has")
    if size is None and free_space(part.parent) < KEPT_FREE:
        raise OSError(errno.ENOSPC, f"{there} bytes came, the size of the file is not known, and less than {KEPT_FREE} bytes are free")


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _read_names(part: Path) -> tuple[str, str]:
    """The server's ETag and the hub's sha256 of what is in `part`, each empty where there is none."""
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
