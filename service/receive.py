"""A request's whole body, bounded in size and time.

In: a request. Out: its body, decompressed where the client compressed it, and the time that is left to answer it. It
knows the limits, not what a body holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from typing import TYPE_CHECKING

from service.admission import TIMEOUT
from service.bodies import Wait
from service.decoder import INLINE_BYTES
from service.errors import Malformed, SlowRequest, TooLarge, UnknownMediaType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from service.admission import Admission
    from service.bodies import Body
    from service.settings import Settings

_PIECE = 4 * 2**20  # bytes unpacked at a time: zlib holds what it makes twice while it makes it
# Bytes a second that earn a body, or an answer, more time: a poor mobile line. A deadline for the whole alone would cut
# off a photograph that somebody sends from the road, and one for each piece would let a byte now and then hold a
# connection for ever.
RATE = 16_384
_GZIP_OR_ZLIB = 47  # zlib's window bits: the larger window, and either header


@contextlib.asynccontextmanager
async def admitted_body(
    request: Request, settings: Settings, admission: Admission
) -> AsyncIterator[tuple[bytes, float]]:
    """The body of a request with pictures, and the seconds left to answer it; raises what the two functions do.

    It is admitted twice: before the body is waited for, which may be long, and before the body is decoded. It counts
    among the bodies that are held until the context ends.
    """
    began = time.perf_counter()
    timeout, length = (request.headers.get(name) for name in (TIMEOUT, "content-length"))
    large = length is None or not length.isdecimal() or int(length) > INLINE_BYTES
    admission.admit(timeout, began, large=large)
    with request.state.bodies.one() as held:
        body = await whole_body(request, settings, held)
        yield body, admission.admit(timeout, began, large=large)


async def whole_body(request: Request, settings: Settings, held: Body) -> bytes:
    """The body; raises `TooLarge` over the limit, `SlowRequest` over the time, `Malformed` where it breaks off.

    The time is counted from the request's first byte, and grows with what has arrived. Raises `Overloaded` where it has
    to make room for others.
    """
    seconds = settings.timeout_seconds
    end = request.scope["began"] + seconds
    try:
        async with asyncio.timeout_at(end) as deadline:
            body, pieces = await _receive(request, settings.max_body_bytes, held, Wait(end, deadline))
    except TimeoutError:
        if held.refused:
            raise request.state.bodies.full() from None
        sentence = f"The body did not arrive within {seconds:g} s, nor at {RATE:,} bytes a second."
        raise SlowRequest(sentence, limit=seconds) from None
    if pieces > 1:  # many may have come at once, for requests that had begun before
        await request.state.turns.have()
    return body


async def _receive(request: Request, limit: int, held: Body, wait: Wait) -> tuple[bytes, int]:
    """The whole body, never more than `limit` bytes of it in memory; and in how many pieces it came.

    Starlette's own `max_body_size` answers in plain text and without the limit's value, so the count is kept here.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge(f"The body has {int(length):,} bytes; the limit is {limit:,}.", limit=limit)
    body, pieces = bytearray(), 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Malformed("The connection was closed before the body had arrived.")
        piece = message.get("body", b"")
        request.state.bodies.grow(held, len(piece), wait)
        body += piece
        pieces += 1
        if len(body) > limit:
            raise TooLarge(f"The body has more than {limit:,} bytes, which is the limit.", limit=limit)
        if not message.get("more_body", False):
            request.state.bodies.whole(held)
            return bytes(body), pieces
        wait.timeout.reschedule(wait.end + len(body) / RATE)


def decompressed(body: bytes, encoding: str, *, limit: int) -> bytes:
    """The body without its Content-Encoding, gzip or deflate (which is zlib, RFC 9110 section 8.4.1.2), or none.

    Raises `UnknownMediaType` for another encoding, `Malformed` for damaged bytes, `TooLarge` when they grow over
    `limit`.
    """
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise UnknownMediaType(f"Content-Encoding {encoding} is not one that is read here; send gzip or deflate.")
    engine = zlib.decompressobj(_GZIP_OR_ZLIB)
    plain = bytearray()
    try:
        while not engine.eof and len(plain) <= limit:
            piece = engine.decompress(body, _PIECE)
            body = engine.unconsumed_tail
            if not piece:
                break
            plain += piece
    except zlib.error as error:
        raise Malformed(f"The body is not {encoding}: {error}.") from None
    if len(plain) > limit:
        raise TooLarge(f"The decompressed body has more than {limit:,} bytes, which is the limit.", limit=limit)
    if not engine.eof:
        raise Malformed(f"The {encoding} body breaks off.")
    return bytes(plain)
