"""Doubt in an answer, read off its ten probabilities.

In: probabilities, float32[n,10], of a network that was trained to spread them evenly over what is no digit. Out: names
of warnings. It knows nothing of pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Probabilities

# What is no digit gets even probabilities (Hendrycks et al. 2019, arXiv 1812.04606), and what is halfway gets a share
# of them: ten times the least probability is the share of "none" in the answer. A clear digit's is below a millionth.
UNLIKE = 0.004
# Below this, the answer is more likely wrong than right.
LOW_CONFIDENCE = 0.5


def doubts(probabilities: Probabilities) -> list[tuple[str, ...]]:
    """The warnings that each answer deserves, of "unlike_a_digit" and "low_confidence"."""
    least, most = np.minimum.reduce(probabilities, 1).tolist(), np.maximum.reduce(probabilities, 1).tolist()
    return [
        ("unlike_a_digit",) * (low > UNLIKE) + ("low_confidence",) * (high < LOW_CONFIDENCE)
        for low, high in zip(least, most, strict=True)
    ]
