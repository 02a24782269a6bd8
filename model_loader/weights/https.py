"""A request over HTTPS: the only module of the pack that asks servers for weights.

huggingface_hub's own downloads cannot be stopped while nobody answers, and know no other servers. `requests`, which every ComfyUI has,
connects, encrypts, follows redirects and finds the proxy. Added here: which addresses are allowed, who gets the token, the system's
certificates, and errors in plain words. It is imported when a download begins, and not before.
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

from ..environment import environment
from .network import (
    AddressError,
    NetworkError,
    RefusalError,
    SettingError,
    TokenError,
    causes,
    plain_reason,
    read_offer,
    without_credentials,
)

logger = logging.getLogger(__name__)

_CHUNK = 2**16
_REDIRECTS = 8
_THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]")
CONNECT_VARIABLES = ("DEPTH_NORMAL_CONNECT_TIMEOUT",)
READ_VARIABLES = ("DEPTH_NORMAL_READ_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
_MOST_SECONDS = 24 * 60 * 60


@dataclass(frozen=True)
class Timeouts:
    """Seconds that a request waits.

    Attributes:
        connect: For a connection to be established, encryption included. A token that has to be renewed first has as long.
        read: For the next byte to come over an established connection, the first one included.
    """

    connect: float = 10.0
    read: float = 60.0

    @classmethod
    def from_environment(cls) -> Timeouts:
        """The values of the first variables that are set, else the defaults.

        Raises:
            SettingError: One of them is not a number of seconds.
        """
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
                raise SettingError(f"{setting}; accepted are seconds, more than 0 and up to {_MOST_SECONDS}, such as {default:g}")
            return seconds
    return default


@dataclass(frozen=True)
class Request:
    """A request for a file.

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


def is_plain_http(url: str) -> bool:
    """True if an address is http of another machine."""
    try:
        parts = parse_url(url)
    except LocationParseError:
        return False
    return parts.scheme == "http" and parts.host not in _THIS_MACHINE


def exchange(request: Request, start: int, known: tuple[str, str], timeouts: Timeouts) -> Iterator[Any]:
    """Asks for a file, or for the rest of one. It waits for servers, so run it beside the caller.

    Args:
        request: What to ask for.
        start: The byte to begin with.
        known: The ETag and the hub's sha256 of the bytes before it, each empty where there is none.
        timeouts: For each step but the look-up of names, which has none.

    Yields:
        An item as soon as the user's token is there; the pair that `read_offer` returns; then the body, piece by piece.

    Raises:
        OSError: Those of `network`.
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
        # `auth` is given in any case: without it requests would send what the user's netrc file has
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
    """Asks one server, and those that it redirects to: by https, and with the token for the first alone."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.max_redirects = _REDIRECTS
        self.hooks["response"].append(_drop_redirect)
        self._request = request
        self._redirected = False

    def get_adapter(self, url: Any) -> Any:
        """Called by requests before each request, redirected ones too."""
        parts = checked(url, self._request, self._redirected)
        self._redirected = True
        if parts.scheme == "https" and not isinstance(self.adapters["https://"], _Adapter):
            self.mount("https://", _Adapter())
        logger.info("connecting to %s", parts.host)
        return super().get_adapter(url)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """As requests does it, but the user's netrc file gives no password for a server that a redirect names."""
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            prepared_request.headers.pop("Authorization", None)


def _drop_redirect(response: requests.Response, *_: Any, **__: Any) -> None:
    """Keeps requests from reading the body of a redirect to its end, which may never come."""
    if response.is_redirect:
        response.close()


class _Adapter(HTTPAdapter):
    """Adds to the certificates of requests those of the system, where a company puts its own, and of SSL_CERT_FILE."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=_certificates())

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*args, **options, ssl_context=_certificates())


def _certificates() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.load_default_certs()
    return context


def checked(url: str, request: Request, redirected: bool = False) -> Url:
    """The parts of an address that is requested: the first one, or one that a server redirects to.

    Raises:
        AddressError: It is malformed, or not encrypted.
    """
    shown = without_credentials(url)
    if redirected:
        shown = f"{without_credentials(request.url)} redirects to {shown}, which"
    try:
        parts, first = parse_url(url), parse_url(request.url)  # as requests reads them, so that no other host is meant
    except LocationParseError as error:
        raise _invalid(shown, error) from None
    # an encrypted address never leads to one that is not, and only this machine or the user's own choice may begin with one
    plain = parts.scheme == "http" and (parts.host in _THIS_MACHINE or request.plain_http) and first.scheme == "http"
    if parts.scheme != "https" and not plain:
        raise AddressError(f"{shown} is not an https address, and weights are only fetched over https")
    if not parts.host:
        raise _invalid(shown, "it names no host")
    return parts


def _invalid(shown: str, reason: object) -> AddressError:
    return AddressError(f"{shown} is not a valid address ({without_credentials(str(reason))})")


def _authorization(request: Request) -> str | None:
    """The value of the Authorization header: of the name and password of the address, or else of the token."""
    if own := parse_url(request.url).auth:
        return "Basic " + base64.b64encode(unquote(own).encode()).decode()
    token = request.token()
    if token and not re.fullmatch(r"[!-~]+", token):
        raise TokenError("the token is not valid: it contains a space or a character that no token has. Set it again")
    return f"Bearer {token}" if token else None


def _in_plain_words(error: Exception, request: Request, timeouts: Timeouts) -> OSError:
    """The exception for one of requests' or urllib3's."""
    exceptions, reason, shown = requests.exceptions, plain_reason(error), without_credentials(request.url)
    if isinstance(error, exceptions.TooManyRedirects):
        return AddressError(f"{shown} redirects more than {_REDIRECTS} times")
    if "SOCKS" in str(error):
        return SettingError("the proxy of HTTPS_PROXY or ALL_PROXY speaks SOCKS: install PySocks, or name one that speaks HTTP")
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
