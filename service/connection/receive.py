"""Receive a request's complete body within limits of size and time.

In: a request. Out: its body, in a spool.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..errors import Malformed, Overloaded, SlowRequest, TooLarge
from .body_budget import Wait
from .limits import MIN_BYTES_PER_SECOND

if TYPE_CHECKING:
    from starlette.requests import Request

    from ..settings import Settings
    from ..system.spool import Spool
    from .body_budget import Body


async def receive_body(request: Request, settings: Settings, held: Body, body: Spool) -> None:
    """Receive the body into the spool; the time limit starts at the request's first byte and grows with the body.

    Raises `TooLarge`, `SlowRequest`, `Malformed` if the client disconnects, and `Overloaded` if the body must make room
    for others.
    """
    seconds = settings.timeout_seconds
    end = request.scope["began"] + seconds
    try:
        async with asyncio.timeout_at(end) as deadline:
            pieces = await _receive(request, settings.max_body_bytes, held, body, Wait(end, deadline))
    except TimeoutError:
        if held.refused:
            raise request.state.bodies.full() from None
        detail = f"The body did not arrive within {seconds:g} s, nor at {MIN_BYTES_PER_SECOND:,} bytes per second."
        raise SlowRequest(detail, limit=seconds) from None
    if pieces > 1:  # the bodies of many started requests may have arrived at once
        await request.state.start_queue.wait_turn()


async def _receive(request: Request, limit: int, held: Body, body: Spool, wait: Wait) -> int:
    """Receive at most `limit` bytes; return the number of pieces.

    Starlette's `max_body_size` responds in plain text, without the limit's value.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge(f"The body has {int(length):,} bytes; the limit is {limit:,}.", limit=limit)
    pieces = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Malformed("The client closed the connection before the end of the body.")
        piece = message.get("body", b"")
        request.state.bodies.add(held, len(piece), wait)
        add(body, piece)
        pieces += 1
        if body.size > limit:
            raise TooLarge(f"The body has more than {limit:,} bytes, which is the limit.", limit=limit)
        if not message.get("more_body", False):
            request.state.bodies.complete(held)
            return pieces
        wait.timeout.reschedule(wait.end + body.size / MIN_BYTES_PER_SECOND)


def add(body: Spool, piece: bytes) -> None:
    """Add a piece to a body; raises `Overloaded` if the system has no room for it."""
    try:
        body.write(piece)
    except OSError as error:
        detail = f"The system has no room for this body now: {error.strerror}. Retry in 1 s."
        raise Overloaded(detail, limit=body.size, retry_after_s=1) from error
