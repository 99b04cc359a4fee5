"""What one run of the model has answered, read off for all its pictures at once, and cut into each request's part.

In: the pictures of a run, and their probabilities. Out: `Answers`. For one picture NumPy's calls cost many times what
they compute: so they are made once for a run, and only where somebody asks. It knows neither requests nor JSON.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..model.uncertainty import doubts
from ..picture.mnist_format import in_mnist_form

if TYPE_CHECKING:
    from ..model.artefact import Probabilities
    from ..picture.decode import Pixels


class Run:
    """One run of the model: pictures uint8[n,1,28,28], and probabilities float32[n,10]."""

    def __init__(self, images: Pixels, probabilities: Probabilities) -> None:
        self.images = images
        self.probabilities = probabilities

    @cached_property
    def digits(self) -> list[int]:
        """The most probable digit of each."""
        return self.probabilities.argmax(1).tolist()  # type: ignore[no-any-return]

    @cached_property
    def confidences(self) -> list[float]:
        """Its probability."""
        return np.maximum.reduce(self.probabilities, 1).tolist()  # type: ignore[no-any-return]

    @cached_property
    def doubts(self) -> list[tuple[str, ...]]:
        """The warnings that each answer deserves."""
        return doubts(self.probabilities)

    @cached_property
    def in_mnist_form(self) -> list[bool]:
        """Whether each picture that seemed to be in MNIST's own form is."""
        return in_mnist_form(self.images[:, 0])


class Answers(NamedTuple):
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
    def doubts(self) -> list[tuple[str, ...]]:
        """The warnings that each answer deserves."""
        return self.run.doubts[self.start : self.stop]

    @property
    def in_mnist_form(self) -> list[bool]:
        """Whether each picture that seemed to be in MNIST's own form is."""
        return self.run.in_mnist_form[self.start : self.stop]
