"""Encode a reply: as Starlette's response, or as the bytes of an HTTP/1.1 response for requests without ASGI."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..reply import Reply


def as_response(reply: Reply) -> Response:
    """Return a reply as Starlette's response."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.content, reply.status, headers)


def response(
    reply: Reply, request_id: bytes, default_headers: Iterable[tuple[bytes, bytes]], *, keep_alive: bool
) -> bytes:
    """Return the bytes of head and body; `default_headers` are uvicorn's, such as the date."""
    return b"%bcontent-length: %d\r\n%b%bx-request-id: %b\r\n%b\r\n%b" % (
        STATUS_LINE[reply.status],
        len(reply.content),
        _lines(reply.headers),
        _lines(tuple(default_headers)),
        request_id,
        b"" if keep_alive else b"connection: close\r\n",
        reply.content,
    )


@functools.lru_cache(maxsize=32)  # the same few again and again; the date changes each second
def _lines(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
