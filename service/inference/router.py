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

from ..observability.requests import given_id
from .shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..versions.canary import Comparison, Trial, Tripped
    from ..versions.manager import Models
    from .batcher import Batcher
    from .engine import Small
    from .results import Answers

    Headers = Iterable[tuple[bytes, bytes]]

log = logging.getLogger("service")


class Chosen(NamedTuple):
    """What is to answer a request; it keeps all of it to its end."""

    classifier: Classifier
    served: Classifier  # answers where that one is the canary, and fails
    trial: Trial | None  # that is under way


class Rollout:
    """Runs requests with the versions that are chosen for them."""

    def __init__(self, models: Models, batcher: Batcher, metrics: Metrics) -> None:
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
        trial = self._models.trial
        if trial is not None and trial.takes(given_id(headers) or identity):
            return Chosen(trial.classifier, served, trial)
        return Chosen(served, served, trial)

    async def predict(self, chosen: Chosen, pixels: bytes) -> tuple[Classifier, Answers]:
        """The version that has answered, and its answers to n·784 pixels."""
        classifier, served, trial = chosen
        if trial is None or classifier is served:
            return classifier, await self._batcher.predict(classifier, pixels)
        try:
            found: Answers | Exception = await self._batcher.predict(classifier, pixels)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request is not lost by it
            found = error
        if self._failed(trial, found):
            return served, await self._batcher.predict(served, pixels)
        return classifier, found  # type: ignore[return-value]  # no error, or it would have failed

    def submit(
        self,
        small: Small,
        done: Callable[[Small, Answers | Exception], Callable[[], None] | None],
        wanted: Callable[[], bool],
    ) -> None:
        """As `Batcher.submit`; `done` gets the request, too, with the version that has answered as the chosen one.

        It returns what sends the answer; None where this is not the request's answer yet.
        """
        classifier, served, trial = small.chosen
        if trial is None:
            self._batcher.submit(classifier, small.pixels, functools.partial(done, small), wanted)
            return

        def answered(by: Small, found: Answers | Exception) -> Callable[[], None] | None:
            send = done(by, found)
            if send is not None:
                self.compare(by.chosen, by.pixels)
            return send

        def tried(found: Answers | Exception) -> Callable[[], None] | None:
            if not self._failed(trial, found):
                return answered(small, found)
            instead = small._replace(chosen=Chosen(served, served, trial))
            self._batcher.submit(served, small.pixels, functools.partial(answered, instead), wanted)
            return None

        first = functools.partial(answered, small) if classifier is served else tried
        self._batcher.submit(classifier, small.pixels, first, wanted)

    def compare(self, chosen: Chosen, pixels: bytes) -> None:
        """This request has been answered: see what the other version says, if there is time."""
        if chosen.trial is not None:
            images = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28)
            self._shadow.offer(chosen.served, chosen.trial, images)

    def _failed(self, trial: Trial, found: Answers | Exception) -> bool:
        """Whether the canary's run for a request came to nothing, which is held against it."""
        error = None
        if isinstance(found, Exception):
            error = found
        elif not np.isfinite(found.probabilities).all():
            error = ValueError("probabilities that are no numbers")
        self._metrics.canary_requests["answered" if error is None else "failed"].inc()
        self._judge(trial, trial.ran(error))
        return error is not None

    def _compared(self, trial: Trial, comparison: Comparison) -> None:
        self._judge(trial, trial.compared(comparison))

    def _judge(self, trial: Trial, tripped: Tripped | None) -> None:
        if tripped is not None and self._models.roll_back(trial):
            self._metrics.rollbacks[tripped.reason].inc()
            log.error("the canary, version %s, is rolled back: %s", trial.told.number, tripped.sentence)
