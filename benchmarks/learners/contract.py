"""What every learner is given and what it says, in whichever environment it runs.

In: a file of digits and a seed, as the two words of its command line. Out, on stdout: a JSON line for each point of its
curve, and a last one of facts. It knows NumPy, and nothing of any learner.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class Digits(NamedTuple):
    """Images uint8[N,28,28] and labels int64[N]: 55,000 to learn, 5,000 to be judged on, 10,000 for the end."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_validation: NDArray[np.uint8]
    y_validation: NDArray[np.int64]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]


def given() -> tuple[Digits, int]:
    """The digits and the seed that this process was started with."""
    path, seed = sys.argv[1:]
    with np.load(path) as file:
        return Digits(**file), int(seed)


class Clock:
    """Seconds of training since it was made, without those in which the learner was judged."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._since = time.perf_counter()

    def judge(self, accuracy: Callable[[], float]) -> None:
        """Say how good the learner is by now; the clock stands still meanwhile."""
        self._seconds += time.perf_counter() - self._since
        print(json.dumps({"seconds": self._seconds, "accuracy": accuracy()}), flush=True)
        self._since = time.perf_counter()


def finish(*, test_accuracy: float, weights: int) -> None:
    """Say the facts that are known at the end."""
    print(json.dumps({"test_accuracy": test_accuracy, "weights": weights}), flush=True)
