"""Who may talk to the server: the browser that was given the token, from the server's own page, under the server's own name."""

from __future__ import annotations

import secrets
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

from aiohttp import web

from .refusals import Refusal

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

HEADER = "X-Depth-Normal-Token"
_ASK = "this address needs the token that the command printed; open the whole address that the terminal shows"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gate:
    """The checks before every request.

    Attributes:
        token: What the printed address holds.
        port: The server's; 0 until it listens.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self.port = 0
        self._once = ""

    @property
    def address(self) -> str:
        """The page's address, with the token."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def address_for_once(self) -> str:
        """An address that lets one browser in, once: other users of this computer can see the words that a program is started with."""
        self._once = secrets.token_urlsafe(24)
        return f"http://127.0.0.1:{self.port}/?token={self._once}"

    def check(self, request: web.Request) -> None:
        """Refuses a request that is not of the page.

        Raises:
            Refusal: A foreign Host (as of DNS rebinding), a foreign origin, or no token.
        """
        hosts = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        host = request.headers.getall("Host", [])
        if len(host) != 1 or host[0].lower() not in hosts:
            raise Refusal(403, "this server is called {0} alone", f"127.0.0.1:{self.port}")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{host[0].lower()}":
            raise Refusal(403, "pages of another server may not use this one")
        entering = request.path == "/" and request.method == "GET"
        if not entering and request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise Refusal(403, "pages of another server may not use this one")
        by_header = self._knows(request.headers.get(HEADER))
        if not (by_header or self._knows(self._cookie(request)) or (entering and self._lets_in(request))):
            raise Refusal(403, _ASK)
        if request.method not in ("GET", "HEAD") and origin is None and not by_header:
            raise Refusal(403, "pages of another server may not use this one")

    def set_cookie(self, response: web.StreamResponse) -> None:
        """Lets the browser in from now on."""
        response.set_cookie(self._cookie_name, self.token, httponly=True, samesite="Strict", path="/")

    @property
    def _cookie_name(self) -> str:
        """Browsers share cookies between the ports of a computer."""
        return f"depth_normal_{self.port}"

    def _cookie(self, request: web.Request) -> str | None:
        cookies = SimpleCookie()
        for header in request.headers.getall("Cookie", []):
            cookies.load(header)
        return cookies[self._cookie_name].value if self._cookie_name in cookies else None

    def _lets_in(self, request: web.Request) -> bool:
        token = request.query.get("token")
        if token and self._once and _same(token, self._once):
            self._once = ""
            return True
        return self._knows(token)

    def _knows(self, token: str | None) -> bool:
        return token is not None and _same(token, self.token)


def _same(sent: str, token: str) -> bool:
    """Compares in a time that does not tell how much is right; bytes of a header that are no UTF-8 arrive as surrogates."""
    return secrets.compare_digest(sent.encode(errors="surrogatepass"), token.encode())


def middleware(gate: Gate) -> Middleware:
    """Checks each request, and turns refusals into answers that the page, or a person, can read."""

    @web.middleware
    async def checked(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            gate.check(request)
            response = await handler(request)
        except Refusal as refusal:
            response = _refused(request, refusal)
        except ConnectionResetError:
            # The page was closed, or left off: there is nobody to answer, and nothing is wrong here.
            response = web.Response(status=400)
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
