"""The driver of ASGI routes: it receives a request's body within limits, and answers within the deadline.

In: a request and its route. Out: the route's response; `service.connection.problems` turns raised errors into
responses.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ..connection.receive import receive_body
from ..connection.writing import as_response
from ..headers import TIMEOUT
from ..inference.engine import in_time
from ..picture.prepare import QUICK_BYTES
from ..system.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from ..inference.admission import Admission
    from ..inference.engine import Engine, Headers, Route
    from ..reply import Reply
    from ..settings import Settings


async def answer(request: Request, engine: Engine, route: Route[Reply], settings: Settings) -> Response:
    """Answer a request with the engine; raises `ServiceError`."""
    record = request.scope["record"]
    return await answer_by(
        request, engine.admission, settings, lambda headers, body: engine.answer(route, headers, body, record)
    )


async def answer_by(
    request: Request, admission: Admission, settings: Settings, handle: Callable[[Headers, Spool], Awaitable[Reply]]
) -> Response:
    """Answer a request with the reply of `handle` to its headers and body; raises `ServiceError`."""
    async with admitted_body(request, settings, admission) as (body, seconds):
        return as_response(await in_time(handle(dict(request.scope["headers"]), body), seconds))


@contextlib.asynccontextmanager
async def admitted_body(
    request: Request, settings: Settings, admission: Admission
) -> AsyncIterator[tuple[Spool, float]]:
    """Receive the body of a request; yield it, and the seconds that are left for the response.

    Admission is checked twice: before the body arrives, which may take long, and before it is decoded. The body counts
    in the memory budget until the context ends. Raises `ServiceError`.
    """
    began = time.perf_counter()
    timeout, length = (request.headers.get(name) for name in (TIMEOUT, "content-length"))
    large = length is None or not length.isdecimal() or int(length) > QUICK_BYTES
    admission.admit(timeout, began, large=large)
    with request.state.bodies.track() as held, contextlib.closing(Spool()) as body:
        await receive_body(request, settings, held, body)
        if (record := request.scope["record"]) is not None:
            record.bytes = body.size
        yield body, admission.admit(timeout, began, large=large)
