"""The driver of ASGI routes: a request's body is received within limits, and answered in time.

In: a request, and its route. Out: the route's reply as a response; errors are raised, and become responses in
`service.connection.problems`.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from starlette.responses import Response

from ..connection.receive import receive_body
from ..headers import TIMEOUT
from ..inference.engine import in_time
from ..picture.prepare import QUICK_BYTES
from ..system.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request

    from ..inference.admission import Admission
    from ..inference.engine import Engine, Headers, Route
    from ..reply import Reply
    from ..settings import Settings


async def answer(request: Request, engine: Engine, route: Route[Reply], settings: Settings) -> Response:
    """Answer a request by the engine; raises `ServiceError`."""
    return await answer_by(request, engine.admission, settings, lambda *asked: engine.answer(route, *asked))


async def answer_by(
    request: Request, admission: Admission, settings: Settings, ask: Callable[[Headers, Spool], Awaitable[Reply]]
) -> Response:
    """Answer a request by what `ask` makes of its headers and its body; raises `ServiceError`."""
    async with admitted_body(request, settings, admission) as (body, seconds):
        return as_response(await in_time(ask(dict(request.scope["headers"]), body), seconds))


def as_response(reply: Reply) -> Response:
    """Make Starlette's response of a reply."""
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.content, reply.status, headers)


@contextlib.asynccontextmanager
async def admitted_body(
    request: Request, settings: Settings, admission: Admission
) -> AsyncIterator[tuple[Spool, float]]:
    """Receive the body of a request with pictures; yields it, and the seconds that are left to answer the request.

    It is admitted twice: before the body is waited for, which may be long, and before the body is decoded. It counts
    among the bodies that are held until the context ends. Raises `ServiceError`.
    """
    began = time.perf_counter()
    timeout, length = (request.headers.get(name) for name in (TIMEOUT, "content-length"))
    large = length is None or not length.isdecimal() or int(length) > QUICK_BYTES
    admission.admit(timeout, began, large=large)
    with request.state.bodies.track() as held, contextlib.closing(Spool()) as body:
        await receive_body(request, settings, held, body)
        yield body, admission.admit(timeout, began, large=large)
