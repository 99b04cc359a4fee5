"""The population stability index, and the mixture that it is measured against."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.observability import psi

SHARES = psi.shares(np.array([[[900, 90, 10]], [[100, 100, 800]]]))


def test_the_index_is_the_sum_over_bins() -> None:
    """Two bins, by hand: a fifth of the expected shares is mixed into those observed."""
    p, q = 0.8 * 0.9 + 0.2 * 0.5, 0.5
    by_hand = (p - q) * math.log(p / q) + (1 - p - q) * math.log((1 - p) / q)
    assert psi.stability_index(np.array([[900, 100]]), np.array([[q, q]])) == pytest.approx(by_hand)


def test_parts_add_up() -> None:
    """The index of several distributions is the sum of their indices."""
    counts, expected = np.array([[30, 70], [5, 95]]), np.array([[0.5, 0.5], [0.2, 0.8]])
    alone = [psi.stability_index(counts[[part]], expected[[part]]) for part in (0, 1)]
    assert psi.stability_index(counts, expected) == pytest.approx(sum(alone))


@pytest.mark.parametrize("pictures", [500, 50_000])
def test_an_empty_bin_adds_a_little_whatever_the_number_of_pictures(pictures: int) -> None:
    """Digits without zeros are no drift, as of sudokus and house numbers; two digits alone are one."""
    expected = np.full((1, 10), 0.1)
    assert psi.stability_index(np.array([[0, *[pictures // 9] * 9]]), expected) == pytest.approx(0.134, abs=0.003)
    assert psi.stability_index(np.array([[pictures // 2] * 2 + [0] * 8]), expected) > 1


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_mixture_of_the_sources_is_found(weight: float) -> None:
    """A window of one source, or of two in any proportion, is as expected."""
    window = (10_000 * (weight * SHARES[0] + (1 - weight) * SHARES[1])).astype(int)
    expected = psi.fit_mixture(window, SHARES)
    assert expected.sum() == pytest.approx(1)
    assert psi.stability_index(window, expected) < 0.01


def test_what_no_mixture_explains_is_a_drift() -> None:
    """The middle bin has a tenth at most in each source, and so in each mixture."""
    window = np.array([[100, 300, 100]])
    assert psi.stability_index(window, psi.fit_mixture(window, SHARES)) > 0.25


def test_chance_is_no_drift() -> None:
    """A thousand windows of 500 pictures drawn from the expected digits stay below 0.1, the convention for a look."""
    expected = np.full((1, 10), 0.1)
    windows = np.random.default_rng(1).multinomial(500, expected[0], 1000)
    assert max(psi.stability_index(window[np.newaxis], expected) for window in windows) < 0.1


def test_a_source_without_a_bin_has_it_as_half_a_picture() -> None:
    """No share is zero, and the shares of each part are one together."""
    found = psi.shares(np.array([[[0, 9], [10, 0]]]))
    assert found.tolist() == [[[0.05, 0.95], [pytest.approx(10.5 / 11), pytest.approx(0.5 / 11)]]]
