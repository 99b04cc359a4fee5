"""Scenes: what is drawn on paper beside a digit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.synthesis import papers

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLUE = (0.0, 0.0, 1.0)


def test_rules_beside_a_digit_stay_near_it() -> None:
    """Each of twenty scenes gets rules within a third of the digit's size, and most have some that go on beyond."""
    digit = np.zeros((120, 120), np.float32)
    digit[50:80, 55:70] = 1
    paper = papers.fill(120, 120, (1.0, 1.0, 1.0))
    rng = np.random.default_rng(0)
    beyond = 0
    for _ in range(20):
        scene = papers.add_rules_beside(paper, digit, lambda: BLUE, rng)[..., 0]
        rules: NDArray[np.bool_] = scene < np.float32(0.7)
        assert rules[40:91, 45:81].any()
        rules[30:101, 35:91] = False
        beyond += bool(rules.any())
    assert beyond > 10


def test_rules_need_a_digit_to_be_beside() -> None:
    """A scene without a digit, such as of a pen without ink, stays as it is."""
    paper = papers.fill(40, 40, (1.0, 1.0, 1.0))
    nothing = np.zeros((40, 40), np.float32)
    assert papers.add_rules_beside(paper, nothing, lambda: BLUE, np.random.default_rng(0)) is paper
