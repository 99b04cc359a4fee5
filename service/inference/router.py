"""Route requests between the serving version and the canary, and roll a bad canary back.

In: requests' ids and pictures. Out: their probabilities, with the version that predicted them. If the canary fails on a
request, the serving version answers it. `service.versions.manager` loads and unloads versions.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..headers import given_id
from .shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..observability.record import Record
    from ..versions.canary import CanaryTrial, Comparison, Tripped
    from ..versions.manager import VersionManager
    from .batcher import Batcher
    from .results import Results

    Headers = Iterable[tuple[bytes, bytes]]
    # Called with the version that made the prediction, and its results or error; returns a function that sends the
    # response.
    Done = Callable[[Classifier, Results | Exception], Callable[[], None]]

log = logging.getLogger("service")


class Chosen(NamedTuple):
    """The versions of one request, fixed at its start."""

    classifier: Classifier
    served: Classifier  # answers if `classifier` is the canary and fails
    canary: CanaryTrial | None  # the trial under way


class Router:
    """Runs requests with their chosen versions."""

    def __init__(self, models: VersionManager, batcher: Batcher, metrics: Metrics) -> None:
        self._models = models
        self._batcher = batcher
        self._metrics = metrics
        self._shadow = Shadow(batcher, metrics, self._compared)

    def close(self) -> None:
        """End the comparisons."""
        self._shadow.close()

    def choose(self, served: Classifier, headers: Headers, identity: str | None = None) -> Chosen:
        """Choose the canary for its share of the request ids, else the serving version.

        The id is in the headers, or is the request's own `identity`.
        """
        canary = self._models.canary
        if canary is not None and canary.answers(given_id(headers) or identity):
            return Chosen(canary.classifier, served, canary)
        return Chosen(served, served, canary)

    async def run(self, chosen: Chosen, pixels: bytes, record: Record | None = None) -> tuple[Classifier, Results]:
        """Return the version that made the prediction, and its results for n·784 pixels."""
        classifier, served, canary = chosen
        if canary is None or classifier is served:
            return classifier, await self._batcher.predict(classifier, pixels, record)
        try:
            result: Results | Exception = await self._batcher.predict(classifier, pixels, record)
        except Exception as error:  # noqa: BLE001 - after any error the serving version answers
            result = error
        if self._failed(canary, result):
            return served, await self._batcher.predict(served, pixels, record)
        return classifier, result  # type: ignore[return-value]  # an error would have failed

    def submit(
        self, chosen: Chosen, pixels: bytes, done: Done, wanted: Callable[[], bool], record: Record | None = None
    ) -> None:
        """Submit n·784 pixels as `Batcher.submit` does; `done` also gets the version that made the prediction."""
        classifier, served, canary = chosen
        if canary is None:
            self._batcher.submit(classifier, pixels, functools.partial(done, classifier), wanted, record)
            return

        def finish(version: Classifier, result: Results | Exception) -> Callable[[], None]:
            send = done(version, result)
            self.compare(chosen, pixels)
            return send

        def finish_or_retry(result: Results | Exception) -> Callable[[], None] | None:
            if not self._failed(canary, result):
                return finish(classifier, result)
            self._batcher.submit(served, pixels, functools.partial(finish, served), wanted, record)
            return None

        on_result = functools.partial(finish, classifier) if classifier is served else finish_or_retry
        self._batcher.submit(classifier, pixels, on_result, wanted, record)

    def compare(self, chosen: Chosen, pixels: bytes) -> None:
        """Offer an answered request to the shadow, which compares both versions if there is time."""
        if chosen.canary is not None:
            images = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)
            self._shadow.offer(chosen.served, chosen.canary, images)

    def _failed(self, canary: CanaryTrial, result: Results | Exception) -> bool:
        """Return whether the canary failed on a request, and record its run."""
        error = None
        if isinstance(result, Exception):
            error = result
        elif not np.isfinite(result.probabilities).all():
            error = ValueError("probabilities that are not finite")
        self._metrics.canary.requests["answered" if error is None else "failed"].inc()
        self._judge(canary, canary.record_run(error))
        return error is not None

    def _compared(self, canary: CanaryTrial, comparison: Comparison) -> None:
        self._judge(canary, canary.record_comparison(comparison))

    def _judge(self, canary: CanaryTrial, tripped: Tripped | None) -> None:
        if tripped is not None and self._models.roll_back(canary):
            self._metrics.canary.rollbacks[tripped.reason].inc()
            log.error("the canary, version %s, is rolled back: %s", canary.spec.number, tripped.sentence)
