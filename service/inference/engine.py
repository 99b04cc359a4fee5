"""The engine of inference: a route's request is prepared, run by a version of the model, and responded to.

In: routes, each a pair of plain functions, and their requests. Out: what the route responds. One way serves every
driver: an ASGI route awaits `answer`; the fast path calls `prepare`, and gives `submit` a callback. It knows the order
of the stages, and neither HTTP nor gRPC.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ..errors import DeadlineExceeded, ServiceError
from ..reader.readers import Readers
from .admission import Admission
from .results import Results, Run
from .router import Router

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..picture.prepare import PreparedImage
    from ..settings import Settings
    from ..system.spool import Spool
    from ..versions.manager import VersionManager
    from .batcher import Batcher
    from .router import Chosen

    Headers = Mapping[bytes, bytes]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NO_RESULTS = Results(Run(np.empty((0, 10), np.float32)), 0, 0)


class Prepared(NamedTuple):
    """A request that is ready for the model."""

    chosen: Chosen
    pixels: bytes  # n·784; empty where no picture of the request can be read
    request: Any  # what its route needs to respond


class Route(Protocol[T_co]):
    """What a kind of request needs from the engine's users: to be prepared, and to be responded to."""

    def prepare(self, headers: Headers, body: bytes) -> Prepared | None:
        """Prepare a small body in the event loop; None where a reader has to. Raises `ServiceError`."""

    async def prepare_large(self, headers: Headers, body: Spool) -> Prepared:
        """Have a reader prepare the body; raises `ServiceError`."""

    def respond(self, prepared: Prepared, classifier: Classifier, results: Results) -> T_co:
        """Make the response of the results, which come from this classifier."""


class Engine:
    """Answers requests, each with the version of the model that is chosen when it begins."""

    def __init__(self, models: VersionManager, batcher: Batcher, metrics: Metrics, settings: Settings) -> None:
        self.readers = Readers(settings, metrics)
        self.router = Router(models, batcher, metrics)
        self.admission = Admission(settings, models, batcher, self.readers)
        self._models = models
        self._metrics = metrics

    def reading(self) -> AbstractAsyncContextManager[None]:
        """Keep reader processes while the context is open."""
        return self.readers.running()

    def close(self) -> None:
        """End the thread of the shadow; a comparison that it has begun is finished."""
        self.router.close()

    def served(self) -> Classifier:
        """Return the version that serves; raises `NoModel`."""
        return self._models.served()

    def prepare(self, route: Route[T], headers: Headers, body: bytes) -> Prepared | None:
        """Prepare a small body; None where a reader has to. Raises `ServiceError`, which is counted."""
        started = time.perf_counter()
        try:
            prepared = route.prepare(headers, body)
        except ServiceError as error:
            self.count_rejected(error)
            raise
        if prepared is not None:
            self._metrics.predictions.stages["decode"].observe(time.perf_counter() - started)
        return prepared

    async def prepare_large(self, route: Route[T], headers: Headers, body: Spool) -> Prepared:
        """Have a reader prepare a body; raises `ServiceError`, which is counted."""
        started = time.perf_counter()
        try:
            prepared = await route.prepare_large(headers, body)
        except ServiceError as error:
            self.count_rejected(error)
            raise
        self._metrics.predictions.stages["decode"].observe(time.perf_counter() - started)
        return prepared

    async def prepare_any(self, route: Route[T], headers: Headers, body: Spool) -> Prepared:
        """Prepare a body where its size and its content allow it best."""
        small = body.small
        prepared = None if small is None else self.prepare(route, headers, small)
        return prepared or await self.prepare_large(route, headers, body)

    async def run(self, prepared: Prepared) -> tuple[Classifier, Results]:
        """Return the version that has answered, and its results."""
        if not prepared.pixels:
            return prepared.chosen.classifier, NO_RESULTS
        return await self.router.run(prepared.chosen, prepared.pixels)

    async def answer(self, route: Route[T], headers: Headers, body: Spool) -> T:
        """Return the route's response to a body; raises `ServiceError`."""
        return await self._answer(route, await self.prepare_any(route, headers, body))

    async def answer_large(self, route: Route[T], headers: Headers, body: Spool) -> T:
        """As `answer`, for a body that `prepare` leaves to a reader."""
        return await self._answer(route, await self.prepare_large(route, headers, body))

    async def _answer(self, route: Route[T], prepared: Prepared) -> T:
        response = route.respond(prepared, *await self.run(prepared))
        self.compare(prepared)
        return response

    def submit(
        self,
        route: Route[T],
        prepared: Prepared,
        finish: Callable[[T | Exception], Callable[[], None]],
        wanted: Callable[[], bool],
    ) -> None:
        """Call `finish` with the route's response, or with what went wrong, in a later turn of the event loop.

        What it returns sends the response, when the other requests of the run have theirs too. A request that is not
        `wanted` any more when its turn comes is dropped.
        """
        respond = functools.partial(_respond, route, prepared, finish)
        if prepared.pixels:
            self.router.submit(prepared.chosen, prepared.pixels, respond, wanted)
        else:
            asyncio.get_running_loop().call_soon(respond(prepared.chosen.classifier, NO_RESULTS))

    def compare(self, prepared: Prepared) -> None:
        """Have the shadow compare a request that is answered, where there is a canary and time for it."""
        if prepared.pixels:
            self.router.compare(prepared.chosen, prepared.pixels)

    def count_rejected(self, error: ServiceError) -> None:
        """Count a picture or a body that cannot be read."""
        if type(error).reason in self._metrics.predictions.rejected:
            self._metrics.predictions.rejected[type(error).reason].inc()

    def count_images(self, images: Iterable[PreparedImage]) -> None:
        """Count what the pictures of a request are like."""
        for image in images:
            self._metrics.predictions.ink_ratio.observe(image.ink_ratio)
            self._metrics.predictions.polarities[image.polarity].inc()

    def count_results(self, results: Results) -> None:
        """Count digits and confidences."""
        for digit, confidence in zip(results.digits, results.confidences, strict=True):
            self._metrics.predictions.digits[digit].inc()
            self._metrics.predictions.confidence.observe(confidence)

    def time_encoding(self, started: float) -> None:
        """Observe the seconds since `started` (perf_counter) as the time that a response took to encode."""
        self._metrics.predictions.stages["encode"].observe(time.perf_counter() - started)


def _respond(
    route: Route[T],
    prepared: Prepared,
    finish: Callable[[T | Exception], Callable[[], None]],
    classifier: Classifier,
    found: Results | Exception,
) -> Callable[[], None]:
    response: T | Exception
    try:
        response = found if isinstance(found, Exception) else route.respond(prepared, classifier, found)
    except Exception as error:  # noqa: BLE001 - whatever it is, this request gets an answer
        response = error
    return finish(response)


async def in_time(work: Awaitable[T], seconds: float) -> T:
    """Return what the work comes to; raises `DeadlineExceeded` when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise DeadlineExceeded(f"The answer was not ready within {seconds:.3g} s.", limit=seconds) from None
