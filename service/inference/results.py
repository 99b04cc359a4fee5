"""The results of one run of the model, read off for all its pictures at once, and cut into each request's part.

In: the probabilities of a run. Out: `Results`. For one picture NumPy's calls cost many times what they compute: so they
are made once for a run, and only where somebody asks. It knows neither requests nor JSON.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..model.uncertainty import warnings_for

if TYPE_CHECKING:
    from ..arrays import Probabilities


class Run:
    """One run of the model: probabilities float32[n,10], and what is read off them."""

    def __init__(self, probabilities: Probabilities) -> None:
        self.probabilities = probabilities

    @cached_property
    def digits(self) -> list[int]:
        """The most probable digit of each picture."""
        return self.probabilities.argmax(1).tolist()  # type: ignore[no-any-return]

    @cached_property
    def confidences(self) -> list[float]:
        """Its probability."""
        return np.maximum.reduce(self.probabilities, 1).tolist()  # type: ignore[no-any-return]

    @cached_property
    def warnings(self) -> list[tuple[str, ...]]:
        """The warnings that each picture's probabilities deserve."""
        return warnings_for(self.probabilities)


class Results(NamedTuple):
    """The part of a run that is one request's."""

    run: Run
    start: int
    stop: int

    @property
    def probabilities(self) -> Probabilities:
        """float32[n,10]."""
        return self.run.probabilities[self.start : self.stop]

    @property
    def digits(self) -> list[int]:
        """The most probable digit of each picture."""
        return self.run.digits[self.start : self.stop]

    @property
    def confidences(self) -> list[float]:
        """Its probability."""
        return self.run.confidences[self.start : self.stop]

    @property
    def warnings(self) -> list[tuple[str, ...]]:
        """The warnings that each picture's probabilities deserve."""
        return self.run.warnings[self.start : self.stop]
