"""Warnings from the uncertainty in a prediction's ten probabilities.

In: probabilities, float32[n, 10], of a network that was trained to spread them evenly over images that are not digits.
Out: names of warnings. It does not know pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Probabilities

# An image that is not a digit gets even probabilities (Hendrycks et al. 2019, arXiv 1812.04606), and one between gets a
# mixture: ten times the lowest probability is the share of "not a digit". A clear digit's is below a millionth.
MAX_LOWEST = 0.006
# Below this, the digit is wrong nearly as often as right.
LOW_CONFIDENCE = 0.6


def warnings_for(probabilities: Probabilities) -> list[tuple[str, ...]]:
    """Return the warnings for each row, of "unlike_a_digit" and "low_confidence"."""
    lowest, highest = np.minimum.reduce(probabilities, 1).tolist(), np.maximum.reduce(probabilities, 1).tolist()
    return [warnings_of(low, high) for low, high in zip(lowest, highest, strict=True)]


def warnings_of(lowest: float, highest: float) -> tuple[str, ...]:
    """Return the warnings for a row, by its lowest and its highest probability."""
    if lowest <= MAX_LOWEST and highest >= LOW_CONFIDENCE:  # nearly all
        return ()
    return ("unlike_a_digit",) * (lowest > MAX_LOWEST) + ("low_confidence",) * (highest < LOW_CONFIDENCE)
