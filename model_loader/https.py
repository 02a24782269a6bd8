"""One file over HTTPS, by the standard library alone: resumed where it broke off, and stopped at once whatever it waits for."""

from __future__ import annotations

import base64
import http.client
import logging
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from string import punctuation
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from .background import Background
from .reasons import plain_reason

logger = logging.getLogger(__name__)

ANSWER_WITHIN = 9.0
"""Seconds in which a server has to begin its answer, redirects and a second attempt included."""
SILENCE = 30.0
"""Seconds without a byte after which a connection counts as broken."""
FIRST_PAUSE = 1.0
"""Seconds before the first new attempt; each further one waits twice as long."""
LONGEST_WAIT = 60.0
"""Seconds that a busy server may ask to wait."""
_ATTEMPTS = 5
_CHUNK = 2**20
_REDIRECTS = 8
_MESSAGES = {"text/html": "a web page (HTML)", "application/json": "a message (JSON)"}
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


class UnexpectedContentError(OSError):
    """The server offers something else than the file that was asked for."""


class AddressError(OSError):
    """An address, the first or one that a server redirects to, that is not gone to; the message says why."""


class BusyError(OSError):
    """The server asks to be left alone for longer than anybody waits."""


@dataclass(frozen=True)
class Offer:
    """What a server says of a file before it sends it.

    Attributes:
        url: The address that was asked, without credentials.
        size: Bytes of the whole file; None where the server does not say.
        etag: The server's name for this very content, without its quotes; None where it has none or only a weak one.
        sha256: Hex digest, where a hub names the content by it.
        commit: The commit of the hub's repository that the file is from.
    """

    url: str
    size: int | None = None
    etag: str | None = None
    sha256: str | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Request:
    """What to ask for.

    Attributes:
        url: https; http of this very machine, or where `plain_http` allows it. A name and password in it are sent as such.
        headers: Sent to the address's own host and port only, never to where it redirects.
        plain_http: Whether the user chose a server without encryption.
    """

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    plain_http: bool = False


Report = Callable[[int, int], None]


def fetch(request: Request, part: Path, report: Report, accept: Callable[[Offer], None]) -> Offer:
    """Downloads an address into a file, from where an earlier attempt left it.

    A connection that breaks is taken up again; an attempt that brought something does not count. What arrived stays in `part` when the
    network fails for good or the caller stops, with the content's name beside it, and the next call goes on from there.

    Args:
        request: What to fetch.
        part: The file to fill; it is complete when this returns.
        report: Called with (bytes there, bytes in all or 0) at least ten times a second, whatever is waited for; may raise to stop.
        accept: Called with the server's offer before its first byte is kept; raises to refuse it.

    Returns:
        What the server said of the file.

    Raises:
        UnexpectedContentError: The server offers a web page, JSON, or another size than the hub said.
        AddressError: An address that is not https, or that is malformed.
        BusyError: The server asks to wait for longer than `LONGEST_WAIT`.
        OSError: urllib's `HTTPError` for an answer of failure, other network errors, or the disk's.
        http.client.HTTPException: The server does not speak HTTP properly.
    """
    failures, received, deadline = 0, False, time.monotonic() + ANSWER_WITHIN
    while True:
        before = _size(part)
        try:
            return _fetch_once(request, part, report, accept, deadline)
        except _NETWORK_ERRORS as error:
            progressed = _size(part) > before
            received = received or progressed
            failures = 1 if progressed else failures + 1
            wait = _asked_to_wait(error)
            patient = received or wait is not None
            if not _may_pass(error) or failures >= (_ATTEMPTS if patient else 2) or not (patient or time.monotonic() < deadline):
                raise
            wait = FIRST_PAUSE * 2 ** (failures - 1) if wait is None else wait
            logger.warning("the download broke off: %s; trying again in %.0f s", without_credentials(plain_reason(error)), wait)
        pause(wait, lambda: report(_size(part), 0))
        if patient:
            deadline = time.monotonic() + ANSWER_WITHIN


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


class _OtherPartError(ConnectionError):
    """The server went on with something else than the rest of what is there."""


@dataclass
class _Answer:
    offer: Offer
    start: int


def _fetch_once(request: Request, part: Path, report: Report, accept: Callable[[Offer], None], deadline: float) -> Offer:
    there, known = _size(part), _read_etags(part)
    total, host = 0, ""

    def tick() -> None:
        report(there, total)

    with Background(_exchange(request, there if any(known) else 0, known)) as exchange:
        try:
            while isinstance(answer := exchange.get(tick, deadline, f"{host} did not answer within {ANSWER_WITHIN:.0f} seconds"), str):
                host = answer
                logger.info("connecting to %s", host)
        except (_OtherPartError, urllib.error.HTTPError) as error:
            if getattr(error, "code", 416) == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                discard(part)
            raise
        offer = answer.offer
        accept(offer)
        if answer.start != there or not there:
            discard(part)
            _write_etags(part, offer)
        there, total = answer.start, offer.size or 0
        with part.open("ab") as stream:
            tick()
            while chunk := exchange.get(tick, time.monotonic() + SILENCE, f"nothing came from {host} for {SILENCE:.0f} seconds"):
                stream.write(chunk)
                there += len(chunk)
                tick()
    if offer.size is not None and there != offer.size:
        raise ConnectionError(f"the connection closed after {there} of {offer.size} bytes")
    return offer


def _exchange(request: Request, start: int, known: tuple[str, str]) -> Iterator[str | _Answer | bytes]:
    """Runs beside the caller: the hosts that are asked, the answer, then its body."""
    url, hops = request.url, []
    for _ in range(_REDIRECTS):
        parts = _checked(url, request, bool(hops))
        yield parts.hostname or ""
        try:
            response = _open(_build(parts, request, not hops or _origin(parts) == _origin(urlsplit(request.url)), start, known, hops))
        except ValueError as error:  # what urllib and the idna codec make of a malformed host
            raise _malformed(without_credentials(url), error) from None
        with response:
            if location := _location(response):
                hops.append(response.headers)
                url = _joined(url, quote(location, encoding="iso-8859-1", safe=punctuation), request)
                continue
            yield _read_answer(response, request, start, known, hops)
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


def _build(
    parts: SplitResult, request: Request, same_origin: bool, start: int, known: tuple[str, str], hops: list[Message]
) -> urllib.request.Request:
    netloc = parts.netloc.rpartition("@")[2]
    built = urllib.request.Request(parts._replace(netloc=netloc, fragment="").geturl())
    built.add_header("User-Agent", "depth-normal")
    built.add_header("Accept-Encoding", "identity")
    if same_origin:
        for name, value in request.headers.items():
            built.add_header(name, value)
        if own := urlsplit(request.url).username:
            pair = f"{unquote(own)}:{unquote(urlsplit(request.url).password or '')}"
            built.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    etag, sha256 = known
    named = _linked(hops, None, "X-Linked-Etag")
    # Without a name of what is there that the server confirms, nothing says that the rest belongs to the same file.
    if start and named and named == sha256:
        built.add_header("Range", f"bytes={start}-")
    elif start and etag and not named:
        built.add_header("Range", f"bytes={start}-")
        built.add_header("If-Range", f'"{etag}"')
    return built


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are followed by `_exchange`, which checks them."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return fp

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=_certificates()))
    return opener.open(request, timeout=SILENCE)


def _certificates() -> ssl.SSLContext:
    """The system's, and those of certifi where it is: some Pythons come without any."""
    context = ssl.create_default_context()
    try:
        import certifi

        context.load_verify_locations(certifi.where())
    except (ImportError, OSError):
        pass
    return context


def _location(response: http.client.HTTPResponse) -> str | None:
    return response.headers["Location"] if 300 <= response.status < 400 else None


def _read_answer(response: http.client.HTTPResponse, request: Request, start: int, known: tuple[str, str], hops: list[Message]) -> _Answer:
    headers = response.headers
    if response.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
        raise urllib.error.HTTPError(without_credentials(request.url), response.status, response.reason, headers, None)
    continued = response.status == http.client.PARTIAL_CONTENT
    span = re.match(r"bytes (\d+)-", headers["Content-Range"] or "")
    if continued and not (span and int(span[1]) == start):
        raise _OtherPartError(f"asked for the bytes from {start}, got {headers['Content-Range']!r}")
    if (kind := headers.get_content_type()) in _MESSAGES:
        raise UnexpectedContentError(f"it answers with {_MESSAGES[kind]} instead of the file")
    start = start if continued else 0
    length, whole = headers["Content-Length"] or "", _linked(hops, headers, "X-Linked-Size")
    size = start + int(length) if length.isdigit() else None
    named = int(whole) if whole.isdigit() else size
    if size is not None and named != size:
        raise UnexpectedContentError(f"it sends {size} bytes of a file that has {named}")
    etag, commit = headers["ETag"] or "", _linked(hops, headers, "X-Repo-Commit")
    # a hub names what it keeps in large-file storage by its sha256; on other servers an ETag may be anything
    linked = _linked(hops, headers, "X-Linked-Etag") or (commit and _linked([], headers, "ETag"))
    offer = Offer(
        url=without_credentials(request.url),
        size=named,
        etag=None if etag.startswith("W/") else etag.strip('"') or None,
        sha256=linked if re.fullmatch(r"[0-9a-f]{64}", linked) else None,
        commit=commit or None,
    )
    if start and offer.etag != known[0] and (offer.sha256 is None or offer.sha256 != known[1]):
        raise _OtherPartError("the file changed on the server")
    return _Answer(offer, start)


def _linked(hops: list[Message], last: Message | None, name: str) -> str:
    """A header of the first answer that has it: the hub's own, before it sends on to where the bytes are."""
    answers = [*hops, last] if last is not None else hops
    return next((value.removeprefix("W/").strip('"') for headers in answers if (value := headers[name])), "")


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 416, 429)
    return not isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)


def _asked_to_wait(error: BaseException) -> float | None:
    """Seconds that an answer of failure asks for by its Retry-After, a number or a date."""
    value = error.headers["Retry-After"] if isinstance(error, urllib.error.HTTPError) and error.headers else None
    if not value:
        return None
    try:
        seconds = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError):
        return None
    if seconds > LONGEST_WAIT:
        raise BusyError(
            f"the server is busy (HTTP {getattr(error, 'code', '')}) and asks to wait {seconds:.0f} s: try again then"
        ) from error
    return max(seconds, 0.0)


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
