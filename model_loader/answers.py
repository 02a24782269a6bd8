"""What a server's answer says of a file before the file comes."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 60.0
"""Seconds that a busy server may ask to wait."""
_MESSAGES = {"text/html": "a web page (HTML)", "application/json": "a message (JSON)"}


class UnexpectedContentError(OSError):
    """The server offers something else than the file that was asked for."""


class BusyError(OSError):
    """The server asks to be left alone for longer than anybody waits."""


class OtherPartError(ConnectionError):
    """The server went on with something else than the rest of what is there."""


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
class Answer:
    """An offer, and the byte of the file that the body begins with."""

    offer: Offer
    start: int


def read_answer(response: http.client.HTTPResponse, url: str, start: int, known: tuple[str, str], hops: list[Message]) -> Answer:
    """Reads an answer that no redirect follows.

    Args:
        response: The answer.
        url: The address that was asked, without credentials.
        start: The byte that was asked for.
        known: The server's and the hub's name of what is there up to it, each empty where there is none.
        hops: The headers of the redirects that led here.

    Raises:
        HTTPError: It has no body to keep.
        UnexpectedContentError: A web page, JSON, or another size than the hub said.
        OtherPartError: Something else than the rest of what is there.
    """
    headers = response.headers
    if response.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
        raise urllib.error.HTTPError(url, response.status, response.reason, headers, None)
    continued = response.status == http.client.PARTIAL_CONTENT
    span = re.match("bytes ([0-9]+)-", headers["Content-Range"] or "")
    if continued and not (span and parsed_number(span[1]) == start):
        raise OtherPartError(f"asked for the bytes from {start}, got {(headers['Content-Range'] or 'no Content-Range')[:80]!r}")
    if (kind := headers.get_content_type()) in _MESSAGES:
        raise UnexpectedContentError(f"it answers with {_MESSAGES[kind]} instead of the file")
    start = start if continued else 0
    length, whole = parsed_number(headers["Content-Length"]), parsed_number(linked(hops, headers, "X-Linked-Size"))
    size = None if length is None else start + length
    named = size if whole is None else whole
    if size is not None and named != size:
        raise UnexpectedContentError(f"it sends {size} bytes of a file that has {named}")
    etag, commit = headers["ETag"] or "", linked(hops, headers, "X-Repo-Commit")
    # a hub names what it keeps in large-file storage by its sha256; on other servers an ETag may be anything
    digest = linked(hops, headers, "X-Linked-Etag") or (commit and linked([], headers, "ETag"))
    offer = Offer(
        url=url,
        size=named,
        etag=None if etag.startswith("W/") else etag.strip('"') or None,
        sha256=digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None,
        commit=commit or None,
    )
    if start and offer.etag != known[0] and (offer.sha256 is None or offer.sha256 != known[1]):
        raise OtherPartError("the file changed on the server")
    return Answer(offer, start)


def linked(hops: list[Message], last: Message | None, name: str) -> str:
    """A header of the first answer that has it: the hub's own, before it sends on to where the bytes are."""
    answers = [*hops, last] if last is not None else hops
    return next((value.removeprefix("W/").strip('"') for headers in answers if (value := headers[name])), "")


def parsed_number(value: str | None) -> int | None:
    """The number that a header states; None where there is none, or one of more digits than any file's size has."""
    return int(value) if value and re.fullmatch(r"\s*[0-9]{1,18}\s*", value) else None


def asked_to_wait(error: BaseException) -> float | None:
    """Seconds that an answer of failure asks for by its Retry-After, a number or a date.

    Raises:
        BusyError: More than `LONGEST_WAIT`.
    """
    value = error.headers["Retry-After"] if isinstance(error, urllib.error.HTTPError) and error.headers else None
    seconds = parsed_number(value)
    if value and seconds is None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, OSError):  # no date, or one that this system's clock does not have
            return None
    if seconds is None:
        return None
    if seconds > LONGEST_WAIT:
        raise BusyError(
            f"the server is busy (HTTP {getattr(error, 'code', '')}) and asks to wait {seconds:.0f} s: try again then"
        ) from error
    return max(float(seconds), 0.0)
