"""One file over HTTPS, by the standard library alone: resumed where it broke off, and stopped at once whatever it waits for."""

from __future__ import annotations

import base64
import errno
import http.client
import logging
import math
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from string import punctuation
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from .answers import Answer, Offer, OtherPartError, UnexpectedContentError, asked_to_wait, linked, read_answer
from .background import Background
from .connection import Patience, Timeouts, open_url
from .reasons import plain_reason

logger = logging.getLogger(__name__)

KEPT_FREE = 2**30
"""Bytes of the disk that a file of unknown size leaves free."""
FIRST_PAUSE = 1.0
"""Seconds before the first new attempt; each further one waits twice as long."""
_ATTEMPTS = 5
_CHUNK = 2**20
_REDIRECTS = 8
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
_NETWORK_IS_DOWN = {
    getattr(errno, name)
    for name in ("ENETDOWN", "ENETUNREACH", "ENETRESET", "EHOSTDOWN", "EHOSTUNREACH", "EADDRNOTAVAIL")
    if hasattr(errno, name)
}
"""What the system says while cables, wireless networks and VPNs come and go."""


class AddressError(OSError):
    """An address, the first or one that a server redirects to, that is not gone to; the message says why."""


class TokenError(OSError):
    """The user's token cannot be had or sent; the message says why."""


class RefusalError(urllib.error.HTTPError):
    """An answer of failure, and whether the server was asked with a token or a password."""

    def __init__(self, error: urllib.error.HTTPError, *, authorized: bool) -> None:
        super().__init__(without_credentials(error.url), error.code, error.reason, error.headers, None)
        self.authorized = authorized


@dataclass(frozen=True)
class Request:
    """What to ask for.

    Attributes:
        url: https; http of this very machine, or where `plain_http` allows it. A name and password in it are sent as such.
        token: Gives the user's token, if there is one, for the address's own host and port only, never for where it redirects. It may
            ask the network itself: it is called beside the caller.
        plain_http: Whether the user chose a server without encryption.
        size: Bytes that the file is known to have; no more are kept.
    """

    url: str
    token: Callable[[], str | None] = lambda: None
    plain_http: bool = False
    size: int | None = None


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
        TokenError: The user's token cannot be had, or is none.
        SettingError: A time-out in the environment is no number of seconds.
        BusyError: The server asks to wait for longer than `answers.LONGEST_WAIT`.
        OSError: urllib's `HTTPError` for an answer of failure, other network errors, or the disk's: also where a file of unknown size
            would leave less than `KEPT_FREE`.
        http.client.HTTPException: The server does not speak HTTP properly.
    """
    attempts, timeouts = _Attempts(part, _size(part)), Timeouts.from_environment()
    deadline, has_connected = time.monotonic() + timeouts.connect, False
    while True:
        attempts.start = None
        patience = Patience(timeouts)  # a new one: an attempt that was left may still connect
        try:
            return _fetch_once(request, attempts, report, accept, patience)
        except (OSError, http.client.HTTPException) as error:
            if not _is_of_network(error):
                raise
            attempts.note(error)
            wait = asked_to_wait(error)
            most = _ATTEMPTS if attempts.received or wait is not None else 2
            has_connected = has_connected or patience.has_connected
            in_time = has_connected or time.monotonic() < deadline  # who has no network at all shall not wait for long
            if not _may_pass(error) or attempts.failures >= most or not in_time:
                raise
            wait = FIRST_PAUSE * 2 ** (attempts.failures - 1) if wait is None else wait
            logger.warning("the download broke off: %s; trying again in %.0f s", without_credentials(plain_reason(error)), wait)
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


def without_credentials(text: str) -> str:
    """A text with neither the name and password of any address in it nor the signature of its query."""
    without_name = re.sub(r"(\w+://)\S*@", r"\1", text)
    return re.sub(r"(\w+://[^\s?]+)\?[^\s'\"]*", r"\1", without_name)


def is_plain_http(url: str) -> bool:
    """Whether an address is http of another machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _THIS_MACHINE


@dataclass
class _Attempts:
    """How far the attempts at one file came.

    Attributes:
        part: The file that they fill.
        furthest: The most bytes that any of them reached.
        start: The byte that the one under way goes on from; None before its server said so.
        failures: How many in a row brought the file no further.
        received: Whether any of them brought anything.
    """

    part: Path
    furthest: int
    start: int | None = None
    failures: int = 0
    received: bool = False

    def note(self, error: Exception) -> None:
        """Takes down that one broke off.

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


def _fetch_once(request: Request, attempts: _Attempts, report: Report, accept: Callable[[Offer], None], patience: Patience) -> Offer:
    part = attempts.part
    there, known = _size(part), _read_etags(part)
    total = 0

    def tick() -> None:
        report(there, total)
        patience.check()

    with Background(_exchange(request, there if any(known) else 0, known, patience)) as exchange:
        try:
            while isinstance(answer := exchange.get(tick, math.inf, ""), str):
                logger.info("connecting to %s", answer)
        except (OtherPartError, urllib.error.HTTPError) as error:
            if getattr(error, "code", 416) == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                discard(part)
            raise
        offer = answer.offer
        accept(offer)
        if answer.start != there or not there:
            discard(part)
            _write_etags(part, offer)
        there = attempts.start = answer.start
        size = request.size if offer.size is None else offer.size
        total = size or 0
        patience.answered()
        with part.open("ab") as stream:
            tick()
            while chunk := exchange.get(tick, math.inf, ""):
                _check_room(part, there + len(chunk), size)
                stream.write(chunk)
                there += len(chunk)
                patience.received()
                tick()
    if size is not None and there != size:
        raise ConnectionError(f"the connection closed after {there} of {size} bytes")
    return offer


def _check_room(part: Path, there: int, size: int | None) -> None:
    """Ends a body that does not end by itself.

    Raises:
        UnexpectedContentError: It is longer than the file.
        OSError: ENOSPC, where nobody knows how long it is and the disk is nearly full.
    """
    if size is not None and there > size:
        raise UnexpectedContentError(f"it sends more than the {size} bytes that the file has")
    if size is None and shutil.disk_usage(part.parent).free < KEPT_FREE:
        raise OSError(errno.ENOSPC, f"{there} bytes came, nobody says how many more, and less than {KEPT_FREE} are free")


def _exchange(request: Request, start: int, known: tuple[str, str], patience: Patience) -> Iterator[str | Answer | bytes]:
    """Runs beside the caller: the hosts that are asked, the answer, then its body."""
    url, hops, authorization = request.url, [], None
    for _ in range(_REDIRECTS):
        parts = _checked(url, request, bool(hops))
        patience.connecting(parts.hostname or "")
        yield parts.hostname or ""
        authorization = authorization if hops else _authorization(request)
        at_home = _origin(parts) == _origin(urlsplit(request.url))
        try:
            response = open_url(_build(parts, authorization if at_home else None, start, known, hops), patience)
        except urllib.error.HTTPError as error:
            error.close()
            raise RefusalError(error, authorized=bool(authorization)) from None
        except (ValueError, http.client.InvalidURL) as error:  # what urllib and the idna codec make of a malformed host
            raise _malformed(without_credentials(url), error) from None
        with response:
            if 300 <= response.status < 400 and (location := response.headers["Location"]):
                hops.append(response.headers)
                url = _joined(url, quote(location, encoding="iso-8859-1", safe=punctuation), request)
                continue
            yield read_answer(response, without_credentials(request.url), start, known, hops)
            while chunk := response.read1(_CHUNK):
                yield chunk
            return
    raise AddressError(f"{without_credentials(request.url)} redirects more than {_REDIRECTS} times")


def _joined(url: str, location: str, request: Request) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        shown = f"{without_credentials(request.url)} redirects to {without_credentials(location)}, which"
        raise _malformed(shown, error) from None


def _malformed(shown: str, reason: object) -> AddressError:
    return AddressError(f"{shown} is not an address that can be gone to ({reason})")


def _checked(url: str, request: Request, redirected: bool) -> SplitResult:
    shown = without_credentials(url)
    if redirected:
        shown = f"{without_credentials(request.url)} redirects to {shown}, which"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _malformed(shown, error) from None
    # an encrypted address never leads to one that is not, and only this machine or the user's own choice may begin with one
    plain = parts.scheme == "http" and (host in _THIS_MACHINE or request.plain_http) and urlsplit(request.url).scheme == "http"
    if parts.scheme != "https" and not plain:
        raise AddressError(f"{shown} is not an https address, and weights are only fetched over https")
    if not host:
        raise _malformed(shown, "it names no host")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port


def _authorization(request: Request) -> str | None:
    """What proves who asks: the name and password of the address, or else the token."""
    own = urlsplit(request.url)
    if own.username:
        pair = f"{unquote(own.username)}:{unquote(own.password or '')}"
        return "Basic " + base64.b64encode(pair.encode()).decode()
    token = request.token()
    if token and not re.fullmatch(r"[!-~]+", token):
        raise TokenError("the token is not one: it holds a space or a character that no token has. Set it anew")
    return f"Bearer {token}" if token else None


def _build(
    parts: SplitResult, authorization: str | None, start: int, known: tuple[str, str], hops: list[Message]
) -> urllib.request.Request:
    netloc = parts.netloc.rpartition("@")[2]
    built = urllib.request.Request(parts._replace(netloc=netloc, fragment="").geturl())
    built.add_header("User-Agent", "depth-normal")
    built.add_header("Accept-Encoding", "identity")
    if authorization:
        built.add_header("Authorization", authorization)
    etag, sha256 = known
    named = linked(hops, None, "X-Linked-Etag")
    # Without a name of what is there that the server confirms, nothing says that the rest belongs to the same file.
    if start and named and named == sha256:
        built.add_header("Range", f"bytes={start}-")
    elif start and etag and not named:
        built.add_header("Range", f"bytes={start}-")
        built.add_header("If-Range", f'"{etag}"')
    return built


def _is_of_network(error: BaseException) -> bool:
    """Whether the network or the server is at fault, and not the disk or the user's settings."""
    return isinstance(error, _NETWORK_ERRORS) or getattr(error, "errno", None) in _NETWORK_IS_DOWN


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 416, 429)
    return not isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _read_etags(part: Path) -> tuple[str, str]:
    """The server's and the hub's name of what is in `part`, each empty where there is none."""
    try:
        lines = [line.strip().strip('"') for line in _etag_file(part).read_text(encoding="latin-1").splitlines()]
    except FileNotFoundError:
        lines = []
    etag, sha256 = [*lines, "", ""][:2]
    return etag, sha256


def _write_etags(part: Path, offer: Offer) -> None:
    if offer.etag or offer.sha256:
        _etag_file(part).write_text(f"{offer.etag or ''}\n{offer.sha256 or ''}\n", encoding="latin-1")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
