"""Sets of digits: what is read of a card, and which digits a set has."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.errors import Malformed
from service.model.conformal import Quantiles, make_sets, parse_coverage, read_quantiles

RNG = np.random.default_rng(0)
ROWS = RNG.dirichlet(np.full(10, 0.05), 500).astype(np.float32)  # mostly sure; some probabilities are 0
LEVELS, SCORES = [0.9, 0.99, 0.999], [0, 1.5, None]


def test_a_coverage_gets_the_next_level_of_the_card() -> None:
    """A level itself, or the next one above; infinity where the card has null, and above its last level."""
    quantiles = read_quantiles({"conformal": {"levels": LEVELS, "quantiles": SCORES}})
    assert quantiles == Quantiles((0.9, 0.99, 0.999), (0, 1.5, math.inf))
    assert [quantiles.at(share) for share in (0.9, 0.901, 0.99, 0.995, 0.9999)] == [0, 1.5, 1.5, math.inf, math.inf]


@pytest.mark.parametrize(
    "found",
    [
        None,
        "yes",
        [LEVELS, SCORES],
        {},
        {"levels": LEVELS},
        {"levels": LEVELS, "quantiles": SCORES[:2]},
        {"levels": {"0.9": 0}, "quantiles": {"0.9": 0}},
        {"levels": [], "quantiles": []},
        {"levels": [0.9, None], "quantiles": [0, 1]},
        {"levels": ["0.9"], "quantiles": [1]},
        {"levels": [0.9], "quantiles": [True]},
        {"levels": [0.9], "quantiles": [[1]]},
        {"levels": [0.9], "quantiles": [-1.5]},
        {"levels": [0.99, 0.9], "quantiles": [0, 1]},
        {"levels": [0.9, 0.9], "quantiles": [0, 1]},
        {"levels": [0.9, 0.99], "quantiles": [2, 1]},
        {"levels": [0.9, 0.99], "quantiles": [None, 1]},
    ],
    ids=str,
)
def test_what_is_no_quantiles_is_none(found: object) -> None:
    """A card from elsewhere may hold anything."""
    assert read_quantiles({"conformal": found}) is None


def test_a_card_without_quantiles_has_none() -> None:
    """As those of versions 1 and 2."""
    assert read_quantiles({}) is None


@pytest.mark.parametrize("quantile", [0, 0.5, 5, 50, math.inf])
def test_sets_begin_with_the_answer_and_are_in_order(quantile: float) -> None:
    """A set has the answered digit first, and then each digit within the quantile, in order of probability."""
    for row, found in zip(ROWS, make_sets(ROWS, quantile), strict=True):
        assert found[0] == row.argmax()
        assert np.all(np.diff(row[found]) <= 0)
        with np.errstate(divide="ignore"):
            within = np.log(float(row.max())) - np.log(row.astype(np.float64)) <= quantile
        assert sorted(found) == np.flatnonzero(within).tolist()


def test_sets_grow_with_the_quantile_from_one_digit_to_all() -> None:
    """Of a quantile of 0 there is one digit; of infinity there are all ten, those of probability 0 too."""
    assert (ROWS == 0).any()
    sizes = [[len(one) for one in make_sets(ROWS, quantile)] for quantile in (0, 1, 10, 100, math.inf)]
    assert sizes[0] == [1] * len(ROWS)
    assert sizes[-1] == [10] * len(ROWS)
    assert np.all(np.diff(sizes, axis=0) >= 0)
    assert make_sets(ROWS[:0], 1) == []


def test_even_probabilities_have_all_digits_in_their_set() -> None:
    """Whatever the quantile is: no digit is more probable than another."""
    assert make_sets(np.full((1, 10), 0.1, np.float32), 0) == [list(range(10))]


@pytest.mark.parametrize("given", ["0.9", "0.9999", "0.99", 0.999, "9.5e-1"])
def test_coverages_within_the_limits_are_numbers(given: str | float) -> None:
    """Both limits are included."""
    assert parse_coverage(given) == float(given)


@pytest.mark.parametrize("given", ["", "x", "nan", "inf", "-0.99", "1", "0.89999", "0.99991", "99", "9" * 10_000, 2.0])
def test_others_are_refused_with_the_limits(given: str | float) -> None:
    """The error names the value, cut short, and both limits."""
    with pytest.raises(Malformed, match=r"^coverage must be a number from 0\.9 to 0\.9999; found '.{0,80}'\.$"):
        parse_coverage(given)
