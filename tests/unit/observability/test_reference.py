"""The reference on a card, which may hold anything."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from service.observability.reference import MAX_SOURCES, parse
from service.observability.signals import BINS

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = {
    "pictures": 20,
    "confidence": [0] * 10 + [19],
    "ink_ratio": [1, *[0] * 4, 19, *[0] * 4],
    "digits": [1] * 9 + [10],
    "polarity": [20, 0],
    "warnings": [1, 0, 0, 0, 2, 0],
}
REFERENCE: dict[str, Any] = {
    "bins": {signal: list(bins) for signal, bins in BINS.items()},
    "sources": {"mnist": SOURCE},
}


def test_a_reference_has_the_shares_of_each_signal() -> None:
    """Each signal has its bins, of which some are merged; warnings have a part each, with it and without it."""
    shares, problems = parse(REFERENCE)
    assert not problems
    shapes = {signal: found.shape for signal, found in shares.items()}
    assert shapes == {
        "confidence": (1, 1, 4),
        "ink_ratio": (1, 1, 3),
        "digits": (1, 1, 10),
        "polarity": (1, 1, 2),
        "warnings": (1, 6, 2),
    }
    assert shares["ink_ratio"][0, 0].tolist() == pytest.approx([1.5 / 21.5, 19.5 / 21.5, 0.5 / 21.5])
    assert shares["warnings"][0, 4].tolist() == pytest.approx([2.5 / 21, 18.5 / 21])


def test_a_card_without_reference_has_no_problem() -> None:
    """Older versions have none."""
    assert parse(None) == ({}, [])


@pytest.mark.parametrize("value", [True, 7, "text", [], {}, {"bins": 3, "sources": []}, {"bins": REFERENCE["bins"]}])
def test_a_value_of_another_form_has_no_signal(value: object) -> None:
    """Nothing is raised, and each signal has a sentence."""
    shares, problems = parse(value)
    assert not shares
    assert len(problems) == len(BINS)


CHANGES: dict[str, Callable[[Any], object]] = {
    "too few counts": lambda signal: signal.pop(),
    "too many counts": lambda signal: signal.append(1),
    "a negative count": lambda signal: signal.__setitem__(0, -1),
    "a fraction": lambda signal: signal.__setitem__(0, 0.5),
    "a truth": lambda signal: signal.__setitem__(0, True),
    "a string": lambda signal: signal.__setitem__(0, "12"),
    "a list": lambda signal: signal.__setitem__(0, [1]),
    "nothing": lambda signal: signal.__setitem__(0, None),
    "more than there are pictures": lambda signal: signal.__setitem__(0, 21),
    "a number beyond any": lambda signal: signal.__setitem__(0, 10**30),
    "no picture": lambda signal: signal.__setitem__(slice(None), [0] * 10),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_signal_that_is_wrong_is_left_out(change: str) -> None:
    """The other signals stay, and one sentence names the signal."""
    reference = copy.deepcopy(REFERENCE)
    CHANGES[change](reference["sources"]["mnist"]["digits"])
    shares, problems = parse(reference)
    assert set(shares) == set(BINS) - {"digits"}
    assert [problem.partition(":")[0] for problem in problems] == ["digits"]


def test_bins_of_another_service_are_left_out() -> None:
    """A service with other buckets or warnings measures the signals that it shares with the card."""
    reference = copy.deepcopy(REFERENCE)
    reference["bins"]["warnings"].append("new")
    reference["bins"]["confidence"][0] = 0.1
    assert set(parse(reference).shares) == {"ink_ratio", "digits", "polarity"}


@pytest.mark.parametrize("pictures", [0, -1, 2.5, None, "20"])
def test_a_source_without_pictures_is_refused(pictures: object) -> None:
    """No count can be right without their number."""
    reference = copy.deepcopy(REFERENCE)
    reference["sources"]["mnist"]["pictures"] = pictures
    assert not parse(reference).shares


@pytest.mark.parametrize("number", [0, MAX_SOURCES + 1])
def test_sources_have_a_limit(number: int) -> None:
    """The mixture is fitted at each scrape."""
    reference = REFERENCE | {"sources": {str(i): SOURCE for i in range(number)}}
    assert not parse(reference).shares
