"""One canary trial: a version that is tried beside the one that serves, and the results so far.

In: the canary's specification, ids of requests, results of its runs, and comparisons with the version that serves. Out:
whether the canary answers a request, and the reason to stop it, if there is one. It knows neither requests nor how
versions are loaded and stopped.
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

WINDOW = 200  # the last runs, pictures and comparisons that count
# A model that reproduces its golden batch does not fail by itself; one or two failures may be the machine's.
FAILURES = 3
# Share of the pictures of which the served version is sure. On digits, versions 1 and 2 agree on 99 %; an untrained
# network agrees on a tenth. On pictures without a digit even good versions disagree, so the limit leaves room.
AGREEMENT = 0.9
SAME, DIFFERENT, DOUBTED, FAILED = AGREEMENTS
# A larger network may be intended; a slower one than this would shed requests that are answered today.
SLOWER = 3.0
COMPARISONS = 50  # that the median needs


class Comparison(NamedTuple):
    """One run of the same pictures by both versions."""

    agreements: list[str]  # one of `AGREEMENTS` for each picture
    served_seconds: float
    canary_seconds: float


class Tripped(NamedTuple):
    """Why a canary is stopped: one of `ROLLBACK_REASONS`, and a sentence."""

    reason: str
    sentence: str


class CanaryTrial:
    """A version under trial, until its specification changes or it is stopped."""

    def __init__(self, classifier: Classifier, spec: CanarySpec) -> None:
        self.classifier = classifier
        self.spec = spec
        self.percent = spec.percent
        self._failed: deque[bool] = deque(maxlen=WINDOW)
        self._same: deque[bool] = deque(maxlen=WINDOW)
        self._slower: deque[float] = deque(maxlen=WINDOW)

    def answers(self, request_id: str | None) -> bool:
        """Return whether the canary answers this request: by the request's id, or at random without one.

        The same id always has the same answer. A larger percentage adds ids and keeps the earlier ones. Each version
        selects other ids, so that not always the same clients go first.
        """
        if not self.percent:
            return False
        if request_id is None:
            return random.random() * 100 < self.percent  # noqa: S311 - a share, not a secret
        digest = hashlib.blake2b(f"{self.classifier.version} {request_id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64 * 100 < self.percent

    def record_run(self, error: Exception | None) -> Tripped | None:
        """Record a run for a request, and its error; return the reason to stop now, if there is one."""
        self._failed.append(error is not None)
        failures = sum(self._failed)
        if failures < FAILURES:
            return None
        runs = f"{failures} of its last {len(self._failed)} answers"
        return Tripped("errors", f"{runs} failed, and the limit is {FAILURES}; this one with {error!r}")

    def record_comparison(self, comparison: Comparison) -> Tripped | None:
        """Record a comparison; return the reason to stop now. A shadow is never stopped: it answers no request."""
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
