"""Which version answers a request while another one is tried, and what becomes of the one that is tried.

In: requests' ids and pictures. Out: their probabilities, with the version that they are from. Where the canary fails,
the version that serves answers; what is seen of the canary stops it when it is too bad. It knows no bodies, and how
versions come and go is `service.versions.manager`'s.
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
    from ..versions.canary import CanaryTrial, Comparison, Tripped
    from ..versions.manager import VersionManager
    from .batcher import Batcher
    from .results import Results

    Headers = Iterable[tuple[bytes, bytes]]
    # Takes the version that has answered, and its answers or what went wrong; returns what sends the response.
    Done = Callable[[Classifier, Results | Exception], Callable[[], None]]

log = logging.getLogger("service")


class Chosen(NamedTuple):
    """What is to answer a request; it keeps all of it to its end."""

    classifier: Classifier
    served: Classifier  # answers where that one is the canary, and fails
    canary: CanaryTrial | None  # that is under way


class Router:
    """Runs requests with the versions that are chosen for them."""

    def __init__(self, models: VersionManager, batcher: Batcher, metrics: Metrics) -> None:
        self._models = models
        self._batcher = batcher
        self._metrics = metrics
        self._shadow = Shadow(batcher, metrics, self._compared)

    def close(self) -> None:
        """Ends the comparisons."""
        self._shadow.close()

    def choose(self, served: Classifier, headers: Headers, identity: str | None = None) -> Chosen:
        """The canary for its share of the ids, and else the version that serves.

        The id is the one in the headers, or the request's own `identity`.
        """
        canary = self._models.canary
        if canary is not None and canary.answers(given_id(headers) or identity):
            return Chosen(canary.classifier, served, canary)
        return Chosen(served, served, canary)

    async def run(self, chosen: Chosen, pixels: bytes) -> tuple[Classifier, Results]:
        """Return the version that has answered, and its answers to n·784 pixels."""
        classifier, served, canary = chosen
        if canary is None or classifier is served:
            return classifier, await self._batcher.predict(classifier, pixels)
        try:
            found: Results | Exception = await self._batcher.predict(classifier, pixels)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request is not lost by it
            found = error
        if self._failed(canary, found):
            return served, await self._batcher.predict(served, pixels)
        return classifier, found  # type: ignore[return-value]  # no error, or it would have failed

    def submit(self, chosen: Chosen, pixels: bytes, done: Done, wanted: Callable[[], bool]) -> None:
        """As `Batcher.submit`; `done` gets the version that has answered, too, and returns what sends the response."""
        classifier, served, canary = chosen
        if canary is None:
            self._batcher.submit(classifier, pixels, functools.partial(done, classifier), wanted)
            return

        def answered(by: Classifier, found: Results | Exception) -> Callable[[], None]:
            send = done(by, found)
            self.compare(chosen, pixels)
            return send

        def tried(found: Results | Exception) -> Callable[[], None] | None:
            if not self._failed(canary, found):
                return answered(classifier, found)
            self._batcher.submit(served, pixels, functools.partial(answered, served), wanted)
            return None

        first = functools.partial(answered, classifier) if classifier is served else tried
        self._batcher.submit(classifier, pixels, first, wanted)

    def compare(self, chosen: Chosen, pixels: bytes) -> None:
        """This request has been answered: see what the other version says, if there is time."""
        if chosen.canary is not None:
            images = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)
            self._shadow.offer(chosen.served, chosen.canary, images)

    def _failed(self, canary: CanaryTrial, found: Results | Exception) -> bool:
        """Whether the canary's run for a request came to nothing, which is held against it."""
        error = None
        if isinstance(found, Exception):
            error = found
        elif not np.isfinite(found.probabilities).all():
            error = ValueError("probabilities that are no numbers")
        self._metrics.canary.requests["answered" if error is None else "failed"].inc()
        self._judge(canary, canary.record_run(error))
        return error is not None

    def _compared(self, canary: CanaryTrial, comparison: Comparison) -> None:
        self._judge(canary, canary.record_comparison(comparison))

    def _judge(self, canary: CanaryTrial, tripped: Tripped | None) -> None:
        if tripped is not None and self._models.roll_back(canary):
            self._metrics.canary.rollbacks[tripped.reason].inc()
            log.error("the canary, version %s, is rolled back: %s", canary.spec.number, tripped.sentence)
