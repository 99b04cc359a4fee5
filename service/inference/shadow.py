"""The same pictures through both versions, after they were answered: do they agree, and which is slower?

In: pictures that were answered. Out: comparisons, and metrics of them. It costs a tenth of a worker's time at most, and
no request waits for it: one comparison at a time, in a thread, none while requests wait, and what comes meanwhile is
dropped and counted. It knows nothing of who was answered what.
"""

from __future__ import annotations

import asyncio
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..model.uncertainty import warnings_for
from ..versions.canary import DIFFERENT, DOUBTED, FAILED, SAME, Comparison

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..arrays import Pixels, Probabilities
    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..versions.canary import CanaryTrial
    from .batcher import Batcher

SHARE = 0.1  # of a worker's time
PRESSED = 0.01  # seconds that requests wait: then the worker's time is theirs
DELAY = 0.002  # seconds, in which an answer that has its probabilities gets onto its way


class Shadow:
    """Compares some of the answered pictures; `judge` gets each comparison."""

    def __init__(self, batcher: Batcher, metrics: Metrics, judge: Callable[[CanaryTrial, Comparison], None]) -> None:
        self._batcher = batcher
        self._metrics = metrics
        self._judge = judge
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")  # begins with the first comparison
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._rests_until = 0.0  # perf_counter
        self._canary_first = False  # by turns: the second one finds the pictures in the cache

    def close(self) -> None:
        """Ends the thread; the comparison that it has begun is finished."""
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown()

    def offer(self, served: Classifier, canary: CanaryTrial, images: Pixels) -> None:
        """These pictures were answered: compare both versions on them, if there is time."""
        if self._busy or time.perf_counter() < self._rests_until:
            self._metrics.canary.dropped.inc()
            return
        self._busy = True
        self._timer = asyncio.get_running_loop().call_later(DELAY, self._begin, served, canary, images)

    def _begin(self, served: Classifier, canary: CanaryTrial, images: Pixels) -> None:
        if self._batcher.wait() > PRESSED:
            self._busy = False
            self._metrics.canary.dropped.inc()
            return
        self._canary_first = not self._canary_first
        run = asyncio.get_running_loop().run_in_executor(
            self._thread, _compare, served, canary.classifier, images, self._canary_first
        )
        run.add_done_callback(functools.partial(self._ended, canary, time.perf_counter()))

    def _ended(self, canary: CanaryTrial, started: float, run: asyncio.Future[Comparison | None]) -> None:
        now = time.perf_counter()
        self._busy = False
        self._rests_until = now + (now - started) * (1 / SHARE - 1)
        comparison = run.result()
        if comparison is None:
            return
        for agreement in comparison.agreements:
            self._metrics.canary.agreements[agreement].inc()
        if FAILED not in comparison.agreements:
            self._metrics.canary.seconds["served"].observe(comparison.served_seconds)
            self._metrics.canary.seconds["canary"].observe(comparison.canary_seconds)
            self._judge(canary, comparison)


def _compare(served: Classifier, canary: Classifier, images: Pixels, canary_first: bool) -> Comparison | None:
    """What both say of the pictures; None where the served version fails, which tells nothing of the canary."""
    both = (canary, served) if canary_first else (served, canary)
    ran = {classifier: _timed(classifier, images) for classifier in both}
    (answers, seconds), (canary_answers, canary_seconds) = ran[served], ran[canary]
    if answers is None:
        return None
    if canary_answers is None:
        return Comparison([FAILED] * len(images), seconds, canary_seconds)
    return Comparison(_agreements(answers, canary_answers), seconds, canary_seconds)


def _agreements(answers: Probabilities, canary_answers: Probabilities) -> list[str]:
    same = answers.argmax(1) == canary_answers.argmax(1)
    return [
        DOUBTED if doubted else SAME if agrees else DIFFERENT
        for doubted, agrees in zip(warnings_for(answers), same, strict=True)
    ]


def _timed(classifier: Classifier, images: Pixels) -> tuple[Probabilities | None, float]:
    """What a version says, and the seconds; None where it fails."""
    started = time.perf_counter()
    try:
        found = classifier.predict(images)
    except Exception:  # noqa: BLE001 - whatever it is, nobody waits for an answer
        return None, 0.0
    return (found if np.isfinite(found).all() else None), time.perf_counter() - started
