"""The cost curve: CPU time of one run of a model, by its number of pictures.

In: a function that runs the model. Out: `Costs`. They are CPU time, which a busy machine distorts less than elapsed
time; the batcher learns how much longer runs take there. It knows neither queues nor requests.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..arrays import Pixels, Probabilities

SIZES = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 3  # of which the cheapest counts
BUDGET = 0.1  # seconds; larger sizes that are not measured by then are extrapolated


class Costs:
    """Seconds of one run of the model."""

    def __init__(self, measured: Mapping[int, float]) -> None:
        """`measured` are seconds by number of pictures, in rising order."""
        largest = max(measured)
        seconds = np.interp(np.arange(largest + 1), [0, *measured], [0.0, *measured.values()])
        self._seconds: list[float] = seconds.tolist()  # by number of pictures

    def __str__(self) -> str:
        return ", ".join(f"{size}: {seconds * 1e3:.3g}" for size, seconds in self.by_size().items())

    def by_size(self) -> dict[int, float]:
        """Return the seconds of one run, by its number of pictures."""
        return {size: self.seconds(size) for size in SIZES}

    def seconds(self, pictures: int) -> float:
        """Return the seconds of one run; in proportion, beyond the largest measured run."""
        largest = len(self._seconds) - 1
        if pictures <= largest:
            return self._seconds[pictures]
        return self._seconds[largest] * pictures / largest


def measure(predict: Callable[[Pixels], Probabilities]) -> Costs:
    """Measure runs of 1, 2, 4 … pictures, for about `BUDGET` seconds at most."""
    started = time.thread_time()
    measured: dict[int, float] = {}
    for size in SIZES:
        images = np.zeros((size, 1, 28, 28), np.uint8)
        measured[size] = min(_cpu_seconds(predict, images) for _ in range(ROUNDS))
        if time.thread_time() - started > BUDGET:
            break
    return Costs(measured)


def _cpu_seconds(predict: Callable[[Pixels], Probabilities], images: Pixels) -> float:
    started = time.thread_time()
    predict(images)
    return time.thread_time() - started
