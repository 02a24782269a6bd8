"""Access control: requests need the token, the server's own host name and its own origin.

The page's scripts send the token in a header, not in a cookie: browsers send cookies to every port of a computer, and so to other users'
servers. URLs that the browser loads without scripts (videos, downloads) are signed for a single file.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from .refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

HEADER = "X-Depth-Normal-Token"
SIGNED_SECONDS = 3600
"""Lifetime of a signed URL."""
STRANGERS = 128
"""Open connections without the token, at most: other users must not use up those that the page needs."""

_ASK = "this address needs the token that the command printed; open the whole address that the terminal shows"
_FOREIGN = "pages of another server may not use this one"
_OPEN = ("/page/", "/web/")
"""Scripts and styles: public, like the page itself. All data needs the token."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gate:
    """The checks before every request.

    Attributes:
        token: The secret after `#` in the printed URL, a part that browsers do not transmit.
        port: The server's port; 0 before it listens.
        entered: Set once a request had the token.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self.port = 0
        self.entered = threading.Event()
        self._key = secrets.token_bytes(32)
        self._strangers: dict[web.RequestHandler, None] = {}

    @property
    def address(self) -> str:
        """The page's URL with the token."""
        return f"http://127.0.0.1:{self.port}/#token={self.token}"

    def bounded(self, connect: Callable[[], web.RequestHandler]) -> Callable[[], web.RequestHandler]:
        """Wraps a connection factory; closes the oldest connection without a token beyond `STRANGERS`."""

        def made() -> web.RequestHandler:
            connection = connect()
            self._strangers[connection] = None
            if len(self._strangers) > STRANGERS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                oldest.force_close()
            return connection

        return made

    def check(self, request: web.Request) -> None:
        """Rejects requests that are not the page's: a foreign Host (DNS rebinding), a foreign origin, no token, or a compressed body."""
        # Not localhost: at [::1], the same port may be another user's, whose page would read the token.
        own = f"127.0.0.1:{self.port}"
        if request.headers.getall("Host", []) != [own]:
            raise Refusal(403, "this server is called {0} alone; write that at the beginning of the address", own)
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{own}":
            raise Refusal(403, _FOREIGN)
        reads = request.method in ("GET", "HEAD")
        entering = request.path == "/" and reads
        if not entering and request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise Refusal(403, _FOREIGN)
        if reads and (entering or request.path.startswith(_OPEN)):
            return
        if not (reads and self._is_signed(request.raw_path)):
            if not _same(request.headers.get(HEADER, ""), self.token):
                raise Refusal(403, _ASK)
            self.entered.set()
        self._strangers.pop(request.protocol, None)
        if (encoding := request.headers.get("Content-Encoding", "identity")) != "identity":
            raise Refusal(400, "a body in the encoding {0} is not read; send the file as it is", encoding)

    def signed(self, path: str, **query: str) -> str:
        """The URL of one file, valid for SIGNED_SECONDS without the token."""
        until = str(round(time.time()) + SIGNED_SECONDS)
        address = f"{path}?{urlencode({**query, 'until': until})}"
        return f"{address}&sign={self._signature(address)}"

    def _is_signed(self, address: str) -> bool:
        signed, _, signature = address.rpartition("&sign=")
        if not _same(signature, self._signature(signed)):
            return False
        return int(parse_qs(signed.partition("?")[2])["until"][0]) > time.time()

    def _signature(self, address: str) -> str:
        return hmac.new(self._key, address.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()


def _same(sent: str, secret: str) -> bool:
    """Compares in constant time; header bytes that are not UTF-8 arrive as surrogates."""
    return hmac.compare_digest(sent.encode(errors="surrogatepass"), secret.encode())


def middleware(gate: Gate) -> Middleware:
    """Checks each request, and turns refusals into readable responses."""

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            gate.check(request)
            response = await handler(request)
        except Refusal as refusal:
            response = _refused(request, refusal)
        except ConnectionResetError:
            # The page was closed or reloaded: nobody waits for the response.
            response = web.Response(status=400)
        except (web.RequestPayloadError, HttpProcessingError) as error:
            response = _refused(request, Refusal(400, "the request is damaged: {0}", error))
        except web.HTTPException as error:
            response = _refused(request, Refusal(error.status, "{0}", error.reason))
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    return checked


def _refused(request: web.Request, refusal: Refusal) -> web.Response:
    if request.path == "/":
        return web.Response(status=refusal.status, text=f"depth-normal: {refusal}\n")
    return web.json_response(refusal.as_json(), status=refusal.status)
