"""HTTPS requests: the only module of the pack that contacts servers for weights.

huggingface_hub's own downloads cannot be cancelled while a server is silent, and support no other servers. `requests`, which every ComfyUI
has, handles connections, TLS, redirects and proxies. This module adds checks of addresses, the token's scope, the system's certificates and
plain error messages. It is only imported when a download begins.
"""

from __future__ import annotations

import base64
import http.client
import logging
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, LocationValueError, NewConnectionError, ReadTimeoutError
from urllib3.util import Url, parse_url
from urllib3.util.ssl_ import create_urllib3_context

from ..system import environment
from .network import NetworkError, RefusalError, UnfetchableError, causes, plain_reason, read_offer, without_credentials

logger = logging.getLogger(__name__)

_CHUNK = 2**16
_REDIRECTS = 8
_THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
CONNECT_VARIABLES = ("DEPTH_NORMAL_CONNECT_TIMEOUT",)
READ_VARIABLES = ("DEPTH_NORMAL_READ_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_MOST_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Timeouts:
    """Timeouts of a request, in seconds."""

    connect: float = 10.0  # for establishing a connection, TLS included. Renewing a token may take as long.
    read: float = 60.0  # for the next byte over an established connection, the first one included

    @classmethod
    def from_environment(cls) -> Timeouts:
        """The first of the variables that is set, else the defaults; an UnfetchableError if it is not a number of seconds."""
        return cls(_seconds(CONNECT_VARIABLES, cls.connect), _seconds(READ_VARIABLES, cls.read))


def _seconds(names: tuple[str, ...], default: float) -> float:
    for name in names:
        if text := environment(name).strip():
            try:
                seconds = float(text)
            except ValueError:
                seconds = 0.0
            if not 0 < seconds <= _MOST_SECONDS:
                setting = f"{name} is {text[:80]!r}"
                raise UnfetchableError(f"{setting}; accepted are seconds, more than 0 and up to {_MOST_SECONDS}, such as {default:g}")
            return seconds
    return default


@dataclass(frozen=True)
class Request:
    """A request for a file."""

    url: str  # https; http only for this machine or with `plain_http`. A name and password in it are sent.
    # returns the user's token, if any. It is sent to the url's own host and port only, never to redirects. It may use the network, so
    # it is called in the background thread.
    token: Callable[[], str | None] = lambda: None
    plain_http: bool = False  # whether the user chose a server without encryption
    size: int | None = None  # known size of the file in bytes; a longer body is refused


def is_plain_http(url: str) -> bool:
    """Whether an address is http of another machine."""
    try:
        parts = parse_url(url)
    except LocationParseError:
        return False
    return parts.scheme == "http" and parts.host not in _THIS_MACHINE


def exchange(request: Request, start: int, known: tuple[str, str], timeouts: Timeouts) -> Iterator[Any]:
    """Requests a file or the rest of one. Blocks on servers, so run it in a background thread.

    Args:
        request, timeouts: Each step but name resolution has timeouts.
        start: The first byte to request.
        known: ETag and hub sha256 of the bytes before it, each empty if unknown.

    Yields:
        An item once the user's token is available; the result of `read_offer`; then the body in chunks.

    Raises:
        OSError: An error of `network`.
    """
    authorization = _authorization(request)
    yield "authorized"
    etag, _ = known
    headers = {"User-Agent": "depth-normal", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if start and etag:
        headers["If-Range"] = f'"{etag}"'

    def authorize(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        if authorization:
            prepared.headers["Authorization"] = authorization
        return prepared

    waits = (timeouts.connect, timeouts.read)
    try:
        # always pass `auth`: otherwise requests would send credentials from the user's netrc file
        with (
            _Session(request) as session,
            session.get(request.url, headers=headers, auth=authorize, stream=True, timeout=waits) as response,
        ):
            if response.status_code not in (requests.codes.ok, requests.codes.partial):
                wait = response.headers.get("Retry-After")
                raise RefusalError(response.status_code, response.reason, wait, authorized=bool(authorization))
            yield read_offer(response, without_credentials(request.url), start, known)
            yield from response.raw.stream(_CHUNK, decode_content=False)
    except (requests.RequestException, HTTPError, ValueError) as error:  # some malformed redirects raise a plain ValueError
        raise _in_plain_words(error, request, timeouts) from error


class _Session(requests.Session):
    """Contacts a server, and by https those that it redirects to, which never get the token."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.max_redirects = _REDIRECTS
        self.hooks["response"].append(_drop_redirect)
        self._request = request
        self._redirected = False

    def get_adapter(self, url: Any) -> Any:
        """Called by requests before each request, including redirects."""
        parts = checked(url, self._request, self._redirected)
        self._redirected = True
        if parts.scheme == "https" and not isinstance(self.adapters["https://"], _Adapter):
            self.mount("https://", _Adapter())
        logger.info("connecting to %s", parts.host)
        return super().get_adapter(url)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """As in requests, but without credentials from the user's netrc file for redirect targets."""
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            prepared_request.headers.pop("Authorization", None)


def _drop_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """Closes a redirect's response: requests would read its body, which may never end."""
    if response.is_redirect:
        response.close()


class _Adapter(HTTPAdapter):
    """Adds the system's certificates, where companies install their own, and SSL_CERT_FILE to those of requests."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=_certificates())

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*args, **options, ssl_context=_certificates())


def _certificates() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.load_default_certs()
    return context


def checked(url: str, request: Request, redirected: bool = False) -> Url:
    """Parses an address about to be requested, the first or a redirect's.

    Raises:
        UnfetchableError: It is malformed, or not encrypted.
    """
    shown = without_credentials(url)
    if redirected:
        shown = f"{without_credentials(request.url)} redirects to {shown}, which"
    try:
        parts, first = parse_url(url), parse_url(request.url)  # parsed as requests does, so that both mean the same host
    except LocationParseError as error:
        raise _invalid(shown, error) from None
    # https never redirects to http, and only this machine or the user's choice may start with http
    plain = parts.scheme == "http" and (parts.host in _THIS_MACHINE or request.plain_http) and first.scheme == "http"
    if parts.scheme != "https" and not plain:
        raise UnfetchableError(f"{shown} is not an https address, and weights are only fetched over https")
    if not parts.host:
        raise _invalid(shown, "it names no host")
    return parts


def _invalid(shown: str, reason: object) -> UnfetchableError:
    return UnfetchableError(f"{shown} is not a valid address ({without_credentials(str(reason))})")


def _authorization(request: Request) -> str | None:
    """The Authorization header: the address's name and password, else the token."""
    if own := parse_url(request.url).auth:
        return "Basic " + base64.b64encode(unquote(own).encode()).decode()
    token = request.token()
    if token and not re.fullmatch(r"[!-~]+", token):
        raise UnfetchableError("the token is not valid: it contains a space or a character that no token has. Set it again")
    return f"Bearer {token}" if token else None


def _in_plain_words(error: Exception, request: Request, timeouts: Timeouts) -> OSError:
    """Translates an error of requests or urllib3."""
    exceptions, reason, shown = requests.exceptions, plain_reason(error), without_credentials(request.url)
    if isinstance(error, exceptions.TooManyRedirects):
        return UnfetchableError(f"{shown} redirects more than {_REDIRECTS} times")
    if "SOCKS" in str(error):
        return UnfetchableError("the proxy of HTTPS_PROXY or ALL_PROXY speaks SOCKS: install PySocks, or name one that speaks HTTP")
    invalid = exceptions.InvalidURL | exceptions.InvalidSchema | exceptions.MissingSchema | LocationValueError
    if isinstance(error, invalid) or not isinstance(error, requests.RequestException | HTTPError):
        return _invalid(f"{shown}, what it redirects to, or the proxy of HTTPS_PROXY", error)
    host = parse_url(getattr(getattr(error, "request", None), "url", None) or request.url).host
    connected = not any(isinstance(link, ConnectTimeoutError | NewConnectionError) for link in causes(error))
    if isinstance(error, exceptions.ProxyError):
        reason = f"the proxy of HTTPS_PROXY or ALL_PROXY does not connect: {reason}"
    elif isinstance(error, exceptions.ConnectTimeout) or "handshake operation timed out" in reason:
        reason = f"no connection to {host} within {timeouts.connect:g} seconds"
    elif isinstance(error, exceptions.ReadTimeout):
        reason = f"{host} did not answer within {timeouts.read:g} seconds"
    elif isinstance(error, ReadTimeoutError):
        reason = f"nothing came from {host} for {timeouts.read:g} seconds"
    elif any(isinstance(link, http.client.IncompleteRead) for link in causes(error)):
        reason = "the connection closed"
    is_certificate = any(isinstance(link, ssl.SSLCertVerificationError) for link in causes(error))
    return NetworkError(reason, connected=connected, temporary=not is_certificate)
