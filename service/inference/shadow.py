"""Shadow traffic: compare the canary with the serving version on pictures of answered requests.

In: pictures of answered requests. Out: comparisons of predictions and durations, and their metrics. The shadow uses at
most a tenth of a worker's time, and delays no request: it makes one comparison at a time, in a thread, and none while
requests wait. Pictures that arrive meanwhile are dropped and counted.
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

TIME_SHARE = 0.1  # of a worker's time
MAX_WAIT_SECONDS = 0.01  # of requests; if they wait longer, there is no comparison
DELAY_SECONDS = 0.002  # until the response with these probabilities has been sent


class Shadow:
    """Compares some of the answered pictures, and calls `judge` with each comparison."""

    def __init__(self, batcher: Batcher, metrics: Metrics, judge: Callable[[CanaryTrial, Comparison], None]) -> None:
        self._batcher = batcher
        self._metrics = metrics
        self._judge = judge
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")  # starts with the first comparison
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False
        self._idle_until = 0.0  # perf_counter
        self._canary_first = False  # alternates: the second version finds the pictures in the cache

    def close(self) -> None:
        """End the thread after its current comparison."""
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown()

    def offer(self, served: Classifier, canary: CanaryTrial, images: Pixels) -> None:
        """Compare both versions on answered pictures, if there is time."""
        if self._busy or time.perf_counter() < self._idle_until:
            self._metrics.canary.dropped.inc()
            return
        self._busy = True
        self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._begin, served, canary, images)

    def _begin(self, served: Classifier, canary: CanaryTrial, images: Pixels) -> None:
        if self._batcher.wait() > MAX_WAIT_SECONDS:
            self._busy = False
            self._metrics.canary.dropped.inc()
            return
        self._canary_first = not self._canary_first
        run = asyncio.get_running_loop().run_in_executor(
            self._thread, _compare, served, canary.classifier, images, self._canary_first
        )
        run.add_done_callback(functools.partial(self._finish, canary, time.perf_counter()))

    def _finish(self, canary: CanaryTrial, started: float, run: asyncio.Future[Comparison | None]) -> None:
        now = time.perf_counter()
        self._busy = False
        self._idle_until = now + (now - started) * (1 / TIME_SHARE - 1)
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
    """Compare both versions; return None if the serving version fails, which says nothing about the canary."""
    both = (canary, served) if canary_first else (served, canary)
    runs = {classifier: _timed(classifier, images) for classifier in both}
    (probabilities, seconds), (canary_probabilities, canary_seconds) = runs[served], runs[canary]
    if probabilities is None:
        return None
    if canary_probabilities is None:
        return Comparison([FAILED] * len(images), seconds, canary_seconds)
    return Comparison(_agreements(images, probabilities, canary_probabilities), seconds, canary_seconds)


def _agreements(images: Pixels, probabilities: Probabilities, canary_probabilities: Probabilities) -> list[str]:
    """Compare the digits; a tensor without ink says nothing about the canary, however sure the served version is."""
    same = probabilities.argmax(1) == canary_probabilities.argmax(1)
    inked = [image.any() for image in images]
    return [
        DOUBTED if uncertain or not ink else SAME if agrees else DIFFERENT
        for uncertain, ink, agrees in zip(warnings_for(probabilities), inked, same, strict=True)
    ]


def _timed(classifier: Classifier, images: Pixels) -> tuple[Probabilities | None, float]:
    """Return a version's probabilities, or None if it fails, and the seconds of its run."""
    started = time.perf_counter()
    try:
        probabilities = classifier.predict(images)
    except Exception:  # noqa: BLE001 - any error is a failed comparison
        return None, 0.0
    return (probabilities if np.isfinite(probabilities).all() else None), time.perf_counter() - started
