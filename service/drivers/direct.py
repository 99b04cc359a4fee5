"""The driver of the fast path: it answers small requests from their connection's callbacks, without ASGI.

In: a complete request of `service.connection.fast_path`. Out: the route's reply, passed to a callback after the model's
run; or a coroutine of the reply, if the body needs a reader.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ..headers import TIMEOUT
from ..inference.engine import in_time
from ..system.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from ..access.authorisation import Access
    from ..connection.fast_path import Finish, SmallRequest
    from ..inference.engine import Engine, Route
    from ..reply import Reply

TIMEOUT_NAME = TIMEOUT.lower().encode()
SCOPE = "infer"


class DirectRoute:
    """One route on the fast path; `template` is its label in metrics and logs."""

    def __init__(self, template: str, route: Route[Reply], engine: Engine, access: Access | None) -> None:
        self.template = template
        self._route = route
        self._engine = engine
        self._access = access

    def fits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Return whether a client with these headers has access; nothing is counted."""
        return self._access is None or self._access.fits(headers.items(), SCOPE)

    def answer(self, request: SmallRequest, finish: Finish, wanted: Callable[[], bool]) -> Awaitable[Reply] | None:
        """Call `finish` with the reply later, or return the reply's coroutine; raises `ServiceError`."""
        if self._access is not None:  # first, so that a rate limit saves the work
            self._access.admit(request.headers.items(), SCOPE, request.record)
        self._admit(request, large=False)
        prepared = self._engine.prepare(self._route, request.headers, request.body, request.record)
        if prepared is None:
            return self._answer_large(request, self._admit(request, large=True))
        self._engine.submit(self._route, prepared, finish, wanted)
        return None

    async def _answer_large(self, request: SmallRequest, seconds: float) -> Reply:
        with contextlib.closing(Spool(request.body)) as body:
            return await in_time(self._engine.answer_large(self._route, request.headers, body, request.record), seconds)

    def _admit(self, request: SmallRequest, *, large: bool) -> float:
        timeout = request.headers.get(TIMEOUT_NAME)
        text = None if timeout is None else timeout.decode("latin-1")
        seconds = self._engine.admission.admit(text, request.started, large=large)
        request.deadline = time.perf_counter() + seconds
        return seconds
