"""The results of one run of the model: computed once for all pictures, and sliced for each request.

In: the probabilities of a run. Out: `Results`. For a single picture, the overhead of NumPy's calls is many times their
work, so they run once for all pictures, and not at all for a few.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import orjson

from ..model.uncertainty import warnings_of

if TYPE_CHECKING:
    from ..arrays import Probabilities

FEW = 4  # pictures of a run, for which Python's own functions cost less than calls of NumPy

# The answer for a picture without ink, which the network does not see: no digit, and even probabilities.
NO_DIGIT_CONFIDENCE: Final = 0.1
NO_DIGIT_PROBABILITIES: Final = (NO_DIGIT_CONFIDENCE,) * 10


class Run:
    """One run of the model: probabilities float32[n,10], and the values derived from them for each picture."""

    def __init__(self, probabilities: Probabilities) -> None:
        self.probabilities = probabilities
        self.digits: list[int]  # the most probable ones
        self.confidences: list[float]  # their probabilities
        if len(probabilities) <= FEW:
            rows = probabilities.tolist()
            lowest, self.confidences = [min(row) for row in rows], [max(row) for row in rows]
            self.digits = [row.index(highest) for row, highest in zip(rows, self.confidences, strict=True)]
        else:
            self.digits = probabilities.argmax(1).tolist()
            self.confidences = np.maximum.reduce(probabilities, 1).tolist()
            lowest = np.minimum.reduce(probabilities, 1).tolist()
        self.warnings = [warnings_of(low, high) for low, high in zip(lowest, self.confidences, strict=True)]

    @cached_property
    def json_rows(self) -> list[bytes]:
        """The probabilities of each picture as JSON, with commas between."""
        return orjson.dumps(self.probabilities, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].split(b"],[")


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

    @property
    def json_rows(self) -> list[bytes]:
        """The probabilities of each picture as JSON, with commas between."""
        return self.run.json_rows[self.start : self.stop]
