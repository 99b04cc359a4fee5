"""Doubt: what the ten probabilities say of the answer's worth, and what the served model says of what is no digit."""

from __future__ import annotations

import numpy as np
import pytest

from service.model.uncertainty import warnings_for


def probabilities(*strongest: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Ten probabilities of which the last ones are these, and the others share the rest evenly."""
    rest = (1 - sum(strongest)) / (10 - len(strongest))
    return np.array([rest] * (10 - len(strongest)) + list(strongest), np.float32)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (probabilities(0.99999), ()),
        (probabilities(0.3399, 0.66), ()),
        (probabilities(0.4799, 0.52), ("low_confidence",)),  # one of two digits
        (probabilities(0.1, 0.41, 0.4899), ("low_confidence",)),  # one of three digits
        (probabilities(0.9), ("unlike_a_digit",)),  # a tenth of the answer is spread over all
        (probabilities(0.1), ("unlike_a_digit", "low_confidence")),
    ],
)
def test_warnings_follow_from_the_probabilities(
    given: np.ndarray[tuple[int], np.dtype[np.float32]], expected: tuple[str, ...]
) -> None:
    """A sure answer has no warning, a torn one is unsure, and one spread over all digits is unlike any."""
    assert warnings_for(given[None]) == [expected]
