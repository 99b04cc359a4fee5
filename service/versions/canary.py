"""One canary: a version that is tried beside the one that serves, and what has been seen of it.

In: what is told of it, ids of requests, how its answers ended and how it compared. Out: whether it answers a request,
and what speaks against it, if anything does. It knows neither requests nor how a version is loaded or stopped.
"""

from __future__ import annotations

import hashlib
import random
import statistics
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ..observability.labels import AGREEMENTS

if TYPE_CHECKING:
    from ..model.classifier import Classifier
    from .choice import CanarySpec

WINDOW = 200  # the last answers, pictures and comparisons, which are looked at
# A model that has proved itself on its golden digits never fails by itself; once or twice it may be the machine.
FAILURES = 3
# Of the pictures that the served version does not doubt. On digits, versions 1 and 2 agree on 99 % of them; a network
# that has learnt something else, on a tenth. Of what is no digit good versions say anything: there has to be room.
AGREEMENT = 0.9
SAME, DIFFERENT, DOUBTED, FAILED = AGREEMENTS
# A larger network may be wanted. From here on requests would be shed where none are today. A median needs a few dozen.
SLOWER = 3.0
COMPARISONS = 50


class Comparison(NamedTuple):
    """The same pictures, run by both versions."""

    agreements: list[str]  # for each picture one of `AGREEMENTS`
    served_seconds: float
    canary_seconds: float


class Tripped(NamedTuple):
    """What speaks against a canary: one of `ROLLBACK_REASONS`, and a sentence."""

    reason: str
    sentence: str


class CanaryTrial:
    """A version that is tried, by what is told of it, until something else is told or it is stopped."""

    def __init__(self, classifier: Classifier, spec: CanarySpec) -> None:
        self.classifier = classifier
        self.spec = spec
        self.percent = spec.percent or 0.0
        self._failed: deque[bool] = deque(maxlen=WINDOW)
        self._same: deque[bool] = deque(maxlen=WINDOW)
        self._slower: deque[float] = deque(maxlen=WINDOW)

    def answers(self, request_id: str | None) -> bool:
        """Whether it answers this request: one id's always, or never; without an id, by chance.

        More percent take more ids, and keep those of before. Another version takes other ids, so that the same people
        don't always go first.
        """
        if not self.percent:
            return False
        if request_id is None:
            return random.random() * 100 < self.percent  # noqa: S311 - a share, not a secret
        digest = hashlib.blake2b(f"{self.classifier.version} {request_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64 * 100 < self.percent

    def record_run(self, error: Exception | None) -> Tripped | None:
        """One more request that it was to answer; what speaks against it now."""
        self._failed.append(error is not None)
        failures = sum(self._failed)
        if failures < FAILURES:
            return None
        runs = f"{failures} of its last {len(self._failed)} answers"
        return Tripped("errors", f"{runs} failed, and the limit is {FAILURES}; this one with {error!r}")

    def record_comparison(self, comparison: Comparison) -> Tripped | None:
        """One more comparison; what speaks against it now. A shadow is only watched: it answers nobody."""
        sure = [agreement for agreement in comparison.agreements if agreement != DOUBTED]
        self._same.extend(agreement == SAME for agreement in sure)
        self._slower.append(comparison.canary_seconds / comparison.served_seconds)
        if not self.percent:
            return None
        agreed = sum(self._same) / WINDOW
        if len(self._same) == WINDOW and agreed < AGREEMENT:
            return Tripped("agreement", f"it agrees on {agreed:.1%} of {WINDOW} pictures; the limit is {AGREEMENT:.0%}")
        if len(self._slower) >= COMPARISONS and (slower := statistics.median(self._slower)) > SLOWER:
            return Tripped("latency", f"it takes {slower:.1f} times as long; the limit is {SLOWER:g}")
        return None
