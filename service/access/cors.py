"""Let pages of other origins ask, and read the responses (CORS: fetch.spec.whatwg.org).

In: a setting, and a request's target and headers. Out: the headers that let a browser's page read the response; and the
response to a preflight. A preflight is answered before a key is asked for, because browsers send no key with it.
Loading, unloading and the metrics stay closed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from starlette.responses import Response

from ..settings import origins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    Headers = tuple[tuple[bytes, bytes], ...]

ANY = "*"
ALLOW_ORIGIN = b"access-control-allow-origin"
VARIES = ((b"vary", b"Origin"),)  # a cache keeps the response to each origin apart
# The response headers that programs read, beyond those that browsers show anyway.
EXPOSED = (b"access-control-expose-headers", b"Allow, Inference-Header-Content-Length, Retry-After, X-Request-ID")
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT",
    "Access-Control-Allow-Headers": "*, Authorization",  # the asterisk does not stand for Authorization
    "Access-Control-Max-Age": "7200",  # seconds: the most that Chromium keeps
}
CLOSED = (b"/v2/repository", b"/metrics")  # how targets begin that no other origin may ask
MAX_START = 3 * max(map(len, CLOSED))  # bytes of a target that decide this: each may be written in three, like %2f


class CrossOrigin:
    """The origins that a setting allows: the headers of the responses to them and to others."""

    def __init__(self, text: str) -> None:
        self._others: Headers = () if text == ANY else VARIES
        self._by_origin = {
            origin.encode(): ((ALLOW_ORIGIN, origin.encode()), EXPOSED, *self._others) for origin in origins(text)
        }
        self._any: Headers | None = self._by_origin.get(ANY.encode())

    def headers(self, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return what to add to the response to a request with this target and these headers."""
        if not _is_open(url[:MAX_START]):
            return ()
        if self._any is not None:
            return self._any
        origin = next((value for name, value in headers if name == b"origin"), b"")
        return self._by_origin.get(origin, self._others)


@functools.lru_cache(maxsize=32)  # clients send the same targets again and again
def _is_open(start: bytes) -> bool:
    """Return whether a target that starts like this is open to other origins."""
    return not unquote_to_bytes(start).startswith(CLOSED)


class PreflightMiddleware:
    """Plain ASGI middleware that answers the preflights of allowed origins; the connection adds the origin."""

    def __init__(self, app: ASGIApp, cross_origin: CrossOrigin) -> None:
        self._app = app
        self._cross_origin = cross_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one preflight, or pass the request on to the app."""
        app = self._app
        if scope["type"] == "http" and scope["method"] == "OPTIONS" and self._is_preflight(scope):
            app = Response(status_code=204, headers=PREFLIGHT)
        await app(scope, receive, send)

    def _is_preflight(self, scope: Scope) -> bool:
        names = {name for name, _ in scope["headers"]}
        added = self._cross_origin.headers(scope["raw_path"], scope["headers"])
        return {b"origin", b"access-control-request-method"} <= names and ALLOW_ORIGIN in dict(added)
