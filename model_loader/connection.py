"""Connections to servers, and how long they are waited for."""

from __future__ import annotations

import http.client
import os
import ssl
import time
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import Any

_CONNECT = ("DEPTH_NORMAL_CONNECT_TIMEOUT",)
_READ = ("DEPTH_NORMAL_READ_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_MOST_SECONDS = 24 * 60 * 60
_LATER = 5.0
"""Seconds that a socket waits longer than the caller, whose words say more."""


class SettingError(OSError):
    """A variable of the environment whose value makes no sense; the message says which, and what is accepted."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds.

    Attributes:
        connect: In which a connection has to stand: the user's token, the look-up of the name and the encryption included.
        read: In which the next byte has to come over a connection that stands, the first one too.
    """

    connect: float = 10.0
    read: float = 60.0

    @classmethod
    def from_environment(cls) -> Timeouts:
        """Those of DEPTH_NORMAL_CONNECT_TIMEOUT and DEPTH_NORMAL_READ_TIMEOUT, else of HF_HUB_DOWNLOAD_TIMEOUT, else the usual ones.

        Raises:
            SettingError: One of them is no number of seconds.
        """
        return cls(_seconds(_CONNECT, cls.connect), _seconds(_READ, cls.read))


def _seconds(names: tuple[str, ...], usual: float) -> float:
    for name in names:
        if text := os.environ.get(name, "").strip():
            try:
                seconds = float(text)
            except ValueError:
                seconds = 0.0
            if not 0 < seconds <= _MOST_SECONDS:
                found = f"{name} is {text[:80]!r}"
                raise SettingError(f"{found}; accepted are seconds, more than 0 and up to {_MOST_SECONDS}, such as {usual:g}")
            return seconds
    return usual


class Patience:
    """The waits of one attempt, for one server after the other: short until a connection stands, long for what comes over it.

    Attributes:
        timeouts: How long.
        has_connected: Whether any connection stood.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self.has_connected = False
        self._host = ""
        self._until, self._complaint = float("inf"), ""

    def connecting(self, host: str) -> None:
        """From now on a connection to this host is waited for."""
        self._host = host
        self._wait(self.timeouts.connect, f"no connection to {host} within")

    def connected(self) -> None:
        """It stands: from now on an answer is waited for."""
        self.has_connected = True
        self._wait(self.timeouts.read, f"{self._host} did not answer within")

    def answered(self) -> None:
        """From now on the first byte of the file is waited for."""
        self._wait(self.timeouts.read, f"{self._host} answered, and nothing of the file came within")

    def received(self) -> None:
        """From now on the next byte is waited for."""
        self._wait(self.timeouts.read, f"nothing came from {self._host} for")

    def check(self) -> None:
        """Ends a wait that took too long.

        Raises:
            TimeoutError: It did.
        """
        if time.monotonic() >= self._until:
            raise TimeoutError(self._complaint)

    def _wait(self, seconds: float, complaint: str) -> None:
        # the complaint first: another thread may be looking at the time
        self._complaint = f"{complaint} {seconds:g} seconds"
        self._until = time.monotonic() + seconds


def open_url(request: urllib.request.Request, patience: Patience) -> http.client.HTTPResponse:
    """A server's answer, a redirect too.

    Args:
        request: What to ask.
        patience: Is told when the connection stands.

    Raises:
        OSError: As urllib's openers.
        http.client.HTTPException: As urllib's openers.
    """
    handlers = (_NoRedirect, _HTTPHandler(patience), _HTTPSHandler(patience))
    return urllib.request.build_opener(*handlers).open(request, timeout=patience.timeouts.connect + _LATER)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Whoever asks follows redirects, after a look at where they lead."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        return fp

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Connection(http.client.HTTPConnection):
    def __init__(self, *arguments: Any, patience: Patience, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._patience = patience

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self._patience.timeouts.read + _LATER)
        self._patience.connected()


class _EncryptedConnection(_Connection, http.client.HTTPSConnection):
    pass


class _HTTPHandler(urllib.request.HTTPHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._connection = partial(_Connection, patience=patience)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, patience: Patience) -> None:
        super().__init__()
        self._connection = partial(_EncryptedConnection, patience=patience)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        # Reading the certificates takes longer than a request without them.
        return self.do_open(self._connection, req, context=_certificates())


def _certificates() -> ssl.SSLContext:
    """The system's, and those of certifi where it is: some Pythons come without any."""
    context = ssl.create_default_context()
    try:
        import certifi

        context.load_verify_locations(certifi.where())
    except (ImportError, OSError):
        pass
    return context
