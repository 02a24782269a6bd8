"""Why a server gave no answer, in plain words."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from urllib.error import URLError


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what caused it, what caused that, ..."""
    while error is not None:
        yield error
        error = error.__cause__


def plain_reason(error: BaseException) -> str:
    """What was at the bottom of a failed request, as a person would say it; the library's own words where nothing better is known."""
    *_, cause = causes(error)
    while isinstance(cause, URLError) and isinstance(cause.reason, BaseException):
        cause = cause.reason
    if isinstance(cause, socket.gaierror):
        return "the server's name could not be looked up (is there a network?)"
    if isinstance(cause, ConnectionRefusedError):
        return "the server refused the connection (is a proxy or firewall in between?)"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the server's certificate is not believed: {cause.verify_message} (is the clock right? is a proxy in between?)"
    if isinstance(cause, OSError) and cause.errno in (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "the server cannot be reached (is there a network?)"
    return str(cause).strip() or type(cause).__name__


def in_one_line(error: BaseException, most: int = 200) -> str:
    """An exception's own words without line breaks, as much of them as a line of a log can hold."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= most else words[: most - 3] + "..."
