"""The results of one run of the model: computed once for all pictures, and sliced for each request.

In: the probabilities of a run. Out: `Results`. For a single picture, the overhead of NumPy's calls is many times their
work, so they run once for all pictures, and only on demand.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ..model.uncertainty import warnings_for

if TYPE_CHECKING:
    from ..arrays import Probabilities

# The answer for a picture without ink, which the network does not see: no digit, and even probabilities.
NO_DIGIT_CONFIDENCE: Final = 0.1
NO_DIGIT_PROBABILITIES: Final = (NO_DIGIT_CONFIDENCE,) * 10


class Run:
    """One run of the model: probabilities float32[n,10], and the values derived from them."""

    def __init__(self, probabilities: Probabilities) -> None:
        self.probabilities = probabilities

    @cached_property
    def digits(self) -> list[int]:
        """The most probable digit of each picture."""
        return self.probabilities.argmax(1).tolist()  # type: ignore[no-any-return]

    @cached_property
    def confidences(self) -> list[float]:
        """The probability of each picture's digit."""
        return np.maximum.reduce(self.probabilities, 1).tolist()  # type: ignore[no-any-return]

    @cached_property
    def warnings(self) -> list[tuple[str, ...]]:
        """The warnings of each picture, from its probabilities."""
        return warnings_for(self.probabilities)


class Results(NamedTuple):
    """One request's slice of a run."""

    run: Run
    start: int
    stop: int

    @property
    def probabilities(self) -> Probabilities:
        """The probabilities of each picture, float32[n,10]."""
        return self.run.probabilities[self.start : self.stop]

    @property
    def digits(self) -> list[int]:
        """The most probable digit of each picture."""
        return self.run.digits[self.start : self.stop]

    @property
    def confidences(self) -> list[float]:
        """The probability of each picture's digit."""
        return self.run.confidences[self.start : self.stop]

    @property
    def warnings(self) -> list[tuple[str, ...]]:
        """The warnings of each picture."""
        return self.run.warnings[self.start : self.stop]
