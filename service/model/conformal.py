"""Sets of digits that hold the right one with a wanted coverage, by split conformal prediction.

In: a version's card, and probabilities. Out: the quantile of the scores for a coverage, and a set for each picture. It
does not know pictures.

The score of a digit is the distance in nats of its log-probability from that of the most probable digit, which is in
every set. Training measures the scores of the right digits on pictures that the network has not seen, and puts their
quantiles on the card. A picture like these then has its right digit in its set with at least the wanted probability
(Papadopoulos et al. 2002, "Inductive confidence machines for regression"; Angelopoulos and Bates 2021, "A gentle
introduction to conformal prediction", arXiv 2107.07511).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ..errors import Malformed
from ..quoting import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..arrays import Probabilities

LOWEST: Final = 0.9  # coverages that can be asked for
HIGHEST: Final = 0.9999
ALL_DIGITS: Final = tuple(range(10))  # the set of a picture without ink


class Quantiles(NamedTuple):
    """The quantiles on a card: the scores within which so many of the right digits are."""

    levels: tuple[float, ...]  # shares of the right digits, ascending
    scores: tuple[float, ...]  # nats, ascending; infinite where the pictures were too few for a level

    def at(self, coverage: float) -> float:
        """Return the quantile for a coverage: that of the next level on the card, or infinity above all."""
        place = bisect_left(self.levels, coverage)
        return self.scores[place] if place < len(self.levels) else math.inf


def read_quantiles(card: dict[str, Any]) -> Quantiles | None:
    """Return the quantiles on a card; None where there are none, or something else stands in their place."""
    found = card.get("conformal")
    levels, quantiles = (found.get("levels"), found.get("quantiles")) if isinstance(found, dict) else (None, None)
    if not isinstance(levels, list) or not isinstance(quantiles, list) or len(levels) != len(quantiles):
        return None
    scores = [math.inf if quantile is None else quantile for quantile in quantiles]
    if not all(type(number) in {int, float} for number in levels + scores):
        return None
    if levels != sorted(set(levels)) or scores != sorted(scores) or min(scores, default=-1) < 0:
        return None
    return Quantiles(tuple(levels), tuple(scores))


def parse_coverage(given: str | float) -> float:
    """Return a coverage as a number; raises `Malformed` for what is not a number within the limits."""
    try:
        coverage = float(given)
    except ValueError:
        coverage = math.nan
    if not LOWEST <= coverage <= HIGHEST:
        raise Malformed(f"coverage must be a number from {LOWEST} to {HIGHEST}; found {quoted(given)!r}.")
    return coverage


def scores_of(probabilities: Probabilities) -> NDArray[np.float64]:
    """Return the score of each digit for probabilities float32[N,10]: float64[N,10], 0 for the most probable."""
    with np.errstate(divide="ignore"):  # a digit of probability 0 is infinitely far
        logarithms = np.log(probabilities.astype(np.float64))
    return logarithms.max(1, keepdims=True) - logarithms  # type: ignore[no-any-return]


def make_sets(probabilities: Probabilities, quantile: float) -> list[list[int]]:
    """Return the digits within the quantile for each row of probabilities float32[N,10], the most probable first."""
    counts = (scores_of(probabilities) <= quantile).sum(1).tolist()
    orders = np.argsort(-probabilities, axis=1, kind="stable").tolist()
    return [order[: max(1, count)] for order, count in zip(orders, counts, strict=True)]
