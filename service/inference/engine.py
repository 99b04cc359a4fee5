"""The inference engine: it prepares a route's request, runs a version of the model, and lets the route respond.

In: routes and their requests. Out: the routes' responses. Both drivers use it: an ASGI route awaits `answer`; the fast
path calls `prepare`, and passes a callback to `submit`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from ..errors import DeadlineExceeded, ServiceError
from ..model.classifier import IMAGE_BYTES
from ..reader.readers import Readers
from .admission import Admission
from .results import Results, Run
from .router import Router

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..observability.record import Record
    from ..picture.prepare import PreparedImage
    from ..settings import Settings
    from ..system.spool import Spool
    from ..versions.manager import VersionManager
    from .batcher import Batcher
    from .router import Chosen

    Headers = Mapping[bytes, bytes]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

WAIT_SECONDS = 0.5  # between two values of the predicted wait
NO_RESULTS = Results(Run(np.empty((0, 10), np.float32)), 0, 0)


class Prepared(NamedTuple):
    """A request that is ready for the model."""

    chosen: Chosen
    pixels: bytes  # n·784; empty if no picture of the request is readable
    request: Any  # the route's own data, for its response
    record: Record | None = None  # of a request that is logged or traced


class Route(Protocol[T_co]):
    """One kind of request: how to prepare it, and how to respond."""

    def prepare(self, headers: Headers, body: bytes) -> Prepared | None:
        """Prepare a small body in the event loop; None if it needs a reader. Raises `ServiceError`."""

    async def prepare_large(self, headers: Headers, body: Spool) -> Prepared:
        """Prepare the body in a reader; raises `ServiceError`."""

    def respond(self, prepared: Prepared, classifier: Classifier, results: Results) -> T_co:
        """Return the response for this classifier's results."""


class Engine:
    """Answers requests; each keeps the version of the model that was chosen at its start."""

    def __init__(self, models: VersionManager, batcher: Batcher, metrics: Metrics, settings: Settings) -> None:
        self.readers = Readers(settings, metrics.worker.reader_ends)
        self.router = Router(models, batcher, metrics)
        self.admission = Admission(settings, models, batcher, self.readers)
        self._models = models
        self._metrics = metrics

    def reading(self) -> AbstractAsyncContextManager[None]:
        """Run the reader processes while the context is open."""
        return self.readers.running()

    @contextlib.asynccontextmanager
    async def predicting_wait(self) -> AsyncIterator[None]:
        """Export the predicted wait while the context is open: with requests or without, it is never stale."""
        task = asyncio.create_task(self._predict_wait())
        yield
        task.cancel()

    async def _predict_wait(self) -> None:
        while True:
            self._metrics.predictions.predicted_wait.set(self.admission.wait(large=False))
            await asyncio.sleep(WAIT_SECONDS)

    def close(self) -> None:
        """End the shadow's thread after its current comparison."""
        self.router.close()

    def served(self) -> Classifier:
        """Return the serving version; raises `NoModel`."""
        return self._models.served()

    def prepare(self, route: Route[T], headers: Headers, body: bytes, record: Record | None) -> Prepared | None:
        """Prepare a small body; None if it needs a reader. Raises `ServiceError`, and counts it."""
        started = time.perf_counter()
        try:
            prepared = route.prepare(headers, body)
        except ServiceError as error:
            self.count_rejected(error)
            raise
        return None if prepared is None else self._decoded(prepared, started, record)

    async def prepare_large(self, route: Route[T], headers: Headers, body: Spool, record: Record | None) -> Prepared:
        """Prepare a body in a reader; raises `ServiceError`, and counts it."""
        started = time.perf_counter()
        try:
            prepared = await route.prepare_large(headers, body)
        except ServiceError as error:
            self.count_rejected(error)
            raise
        return self._decoded(prepared, started, record)

    def _decoded(self, prepared: Prepared, started: float, record: Record | None) -> Prepared:
        """Observe the time since `started`, and return the request with its record."""
        now = time.perf_counter()
        self._metrics.predictions.stages["decode"].observe(now - started)
        if record is None:
            return prepared
        record.add_stage("decode", started, now)
        record.version = prepared.chosen.classifier.version
        record.digits = len(prepared.pixels) // IMAGE_BYTES
        return prepared._replace(record=record)

    async def prepare_any(self, route: Route[T], headers: Headers, body: Spool, record: Record | None) -> Prepared:
        """Prepare a body, in the event loop if it is small and quick, else in a reader."""
        small = body.small
        prepared = None if small is None else self.prepare(route, headers, small, record)
        return prepared or await self.prepare_large(route, headers, body, record)

    async def run(self, prepared: Prepared) -> tuple[Classifier, Results]:
        """Return the version that made the prediction, and its results."""
        if not prepared.pixels:
            return prepared.chosen.classifier, NO_RESULTS
        return await self.router.run(prepared.chosen, prepared.pixels, prepared.record)

    async def answer(self, route: Route[T], headers: Headers, body: Spool, record: Record | None) -> T:
        """Return the route's response to a body; raises `ServiceError`."""
        return await self._answer(route, await self.prepare_any(route, headers, body, record))

    async def answer_large(self, route: Route[T], headers: Headers, body: Spool, record: Record | None) -> T:
        """Return the route's response to a body that needs a reader; raises `ServiceError`."""
        return await self._answer(route, await self.prepare_large(route, headers, body, record))

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
        """Call `finish` with the route's response, or with an error, in a later turn of the event loop.

        The function that it returns sends the response; it is called after `finish` of the run's other requests. A
        request that is no longer `wanted` is dropped before its run.
        """
        respond = functools.partial(_respond, route, prepared, finish)
        if prepared.pixels:
            self.router.submit(prepared.chosen, prepared.pixels, respond, wanted, prepared.record)
        else:
            asyncio.get_running_loop().call_soon(respond(prepared.chosen.classifier, NO_RESULTS))

    def compare(self, prepared: Prepared) -> None:
        """Offer an answered request to the shadow, which compares it if there is a canary and time."""
        if prepared.pixels:
            self.router.compare(prepared.chosen, prepared.pixels)

    def count_rejected(self, error: ServiceError) -> None:
        """Count an unreadable picture or body."""
        if type(error).reason in self._metrics.predictions.rejected:
            self._metrics.predictions.rejected[type(error).reason].inc()

    def count_images(self, images: Iterable[PreparedImage]) -> None:
        """Count ink ratio, polarity and warnings of a request's pictures."""
        predictions = self._metrics.predictions
        for image in images:
            predictions.ink_ratio.observe(image.ink_ratio)
            predictions.polarities[image.polarity].inc()
            for warning in image.warnings:
                predictions.warnings[warning].inc()

    def count_inputs(self, polarities: Iterable[str], ink_ratios: Collection[float]) -> None:
        """Count polarity and ink ratio of pictures without warnings."""
        predictions = self._metrics.predictions
        predictions.ink_ratio.observe_all(ink_ratios)
        for polarity in polarities:
            predictions.polarities[polarity].inc()

    def count_results(self, results: Results) -> None:
        """Count digits, confidences and the warnings that come of them."""
        predictions = self._metrics.predictions
        predictions.confidence.observe_all(results.confidences)
        for digit, warnings in zip(results.digits, results.warnings, strict=True):
            predictions.digits[digit].inc()
            for warning in warnings:
                predictions.warnings[warning].inc()

    def encoded(self, prepared: Prepared, classifier: Classifier, started: float) -> None:
        """Observe the seconds since `started` (perf_counter) as the encoding of a response by this version."""
        now = time.perf_counter()
        self._metrics.predictions.stages["encode"].observe(now - started)
        if prepared.record is not None:
            prepared.record.add_stage("encode", started, now)
            prepared.record.version = classifier.version


def _respond(
    route: Route[T],
    prepared: Prepared,
    finish: Callable[[T | Exception], Callable[[], None]],
    classifier: Classifier,
    result: Results | Exception,
) -> Callable[[], None]:
    response: T | Exception
    try:
        response = result if isinstance(result, Exception) else route.respond(prepared, classifier, result)
    except Exception as error:  # noqa: BLE001 - any error becomes this request's response
        response = error
    return finish(response)


async def in_time(work: Awaitable[T], seconds: float) -> T:
    """Return the result of `work`; raises `DeadlineExceeded` after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise DeadlineExceeded(f"The response was not ready within {seconds:.3g} s.", limit=seconds) from None
