"""Exceptions of network requests, with messages that name the cause in plain words."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator

_LONGEST_LINE = 200
_UNREACHABLE = (errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)


class NetworkError(OSError):
    """A request failed on its way or at the server.

    Attributes:
        connected: Whether a connection to the server was established.
        temporary: Whether another attempt can succeed.
    """

    def __init__(self, message: str, *, connected: bool = True, temporary: bool = True) -> None:
        super().__init__(message)
        self.connected = connected
        self.temporary = temporary


class RefusalError(NetworkError):
    """The server answered with a status of failure.

    Attributes:
        status: The HTTP status.
        retry_after: The header Retry-After, where there is one.
        authorized: Whether the request carried a token or a password.
    """

    def __init__(self, status: int, reason: str, retry_after: str | None = None, *, authorized: bool = False) -> None:
        super().__init__(f"HTTP Error {status}: {reason}", temporary=status >= 500 or status in (408, 416, 429))
        self.status = status
        self.retry_after = retry_after
        self.authorized = authorized


class AddressError(OSError):
    """An address, or one that a server redirects to, is not requested; the message says why."""


class ServerBusyError(OSError):
    """The server asks to wait longer than a download does."""


class SettingError(OSError):
    """A variable of the environment has a value that cannot be used; the message says which, and what is accepted."""


class TokenError(OSError):
    """The user's token cannot be read or sent; the message says why."""


class UnexpectedContentError(OSError):
    """The server offers something else than the file that was asked for."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what caused it, what caused that, ..."""
    while error is not None:
        yield error
        context = None if error.__suppress_context__ else error.__context__
        # urllib3 hands on some errors as an argument alone
        error = error.__cause__ or context or next((each for each in error.args if isinstance(each, BaseException)), None)


def plain_reason(error: BaseException) -> str:
    """The first cause of a failed request as a person would say it; the library's own words where nothing better is known."""
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
    """A text with neither the name and password of any address in it nor the signature of its query."""
    without_name = re.sub(r"(\w+://)\S*@", r"\1", text)
    return re.sub(r"(\w+://[^\s?]+)\?[^\s'\"]*", r"\1", without_name)


def in_one_line(error: BaseException) -> str:
    """An exception's own words without line breaks, as much of them as a line of a log can hold."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _LONGEST_LINE else words[: _LONGEST_LINE - 3] + "..."
