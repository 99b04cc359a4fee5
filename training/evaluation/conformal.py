"""Calibrate sets of digits: the quantiles by which the service makes sets that hold the right digit with a coverage.

In: a model, and digits by source that it was not trained on. Out: the value of the card's key `conformal`. The service
defines the score of a digit, and makes the sets (service/model/conformal.py, which names the papers). Each source has
its quantiles, and the larger one counts, so that the pictures of each source are covered.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..service_picture import scores_of
from .onnx_runtime import run_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .. import data

SCORE: Final = "nats by which a digit's log-probability is below that of the most probable digit"
LEVELS: Final = tuple(
    round(1 - part / 10**places, 4) for places, last in ((2, 2), (3, 2), (4, 1)) for part in range(10, last - 1, -1)
)  # 0.9, 0.91 … 0.98, 0.99, 0.991 … 0.998, 0.999, 0.9991 … 0.9999


def calibrate(model: bytes, sources: Mapping[str, data.Digits]) -> dict[str, Any]:
    """Return the number of digits of each source, and the larger quantile of the scores for each level.

    A quantile is None where it is infinite: where a source has too few digits for the level.
    """
    scores = [_scores(model, digits) for digits in sources.values()]
    quantiles = [max(quantile(each, level) for each in scores) for level in LEVELS]
    return {
        "score": SCORE,
        "counts": {name: len(digits.labels) for name, digits in sources.items()},
        "levels": list(LEVELS),
        "quantiles": [None if math.isinf(value) else value for value in quantiles],
    }


def quantile(scores: NDArray[np.float64], level: float) -> float:
    """Return the ceil((n + 1) · level)-th smallest of n scores; infinity where there are fewer.

    A further score of the same distribution is at most this with a probability of at least `level`.
    """
    rank = math.ceil((len(scores) + 1) * Fraction(str(level)))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def _scores(model: bytes, digits: data.Digits) -> NDArray[np.float64]:
    """Return the score of each picture's right digit."""
    every = scores_of(run_onnx(model, digits.images).numpy())
    return np.take_along_axis(every, digits.labels.numpy()[:, None], 1)[:, 0]
