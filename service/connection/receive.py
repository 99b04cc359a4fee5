"""A request's whole body, bounded in size and time.

In: a request. Out: its body, and the time that is left to answer it. It knows the limits, not what a body holds.
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
    """All of the body; raises `TooLarge` over the limit, `SlowRequest` over the time, `Malformed` where it breaks off.

    The time is counted from the request's first byte, and grows with what has arrived. Raises `Overloaded` where it has
    to make room for others.
    """
    seconds = settings.timeout_seconds
    end = request.scope["began"] + seconds
    try:
        async with asyncio.timeout_at(end) as deadline:
            pieces = await _receive(request, settings.max_body_bytes, held, body, Wait(end, deadline))
    except TimeoutError:
        if held.refused:
            raise request.state.bodies.full() from None
        sentence = f"The body did not arrive within {seconds:g} s, nor at {MIN_BYTES_PER_SECOND:,} bytes a second."
        raise SlowRequest(sentence, limit=seconds) from None
    if pieces > 1:  # many may have come at once, for requests that had begun before
        await request.state.start_queue.wait_turn()


async def _receive(request: Request, limit: int, held: Body, body: Spool, wait: Wait) -> int:
    """All of the body, never more than `limit` bytes of it; returns in how many pieces it came.

    Starlette's own `max_body_size` answers in plain text and without the limit's value, so the count is kept here.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge(f"The body has {int(length):,} bytes; the limit is {limit:,}.", limit=limit)
    pieces = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Malformed("The connection was closed before the body had arrived.")
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
    """Add a piece to a body; raises `Overloaded` where the system has no room for it."""
    try:
        body.write(piece)
    except OSError as error:
        sentence = f"The system has no room for this body now: {error.strerror}. Come back in 1 s."
        raise Overloaded(sentence, limit=body.size, retry_after_s=1) from error
