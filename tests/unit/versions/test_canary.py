"""One canary, through `service.versions.canary.CanaryTrial`: which requests it answers, and what stops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.versions.canary import COMPARISONS, FAILURES, WINDOW, CanaryTrial, Comparison
from service.versions.choice import CanarySpec
from tests.support.service import MODELS

if TYPE_CHECKING:
    from service.model.classifier import Classifier

IDS = [f"client-{number}" for number in range(2000)]


@pytest.fixture(scope="module")
def older(classifier: Classifier) -> Classifier:
    """Another version than the committed one that serves."""
    return type(classifier).load(MODELS, "1")


def of_percent(classifier: Classifier, percent: float) -> CanaryTrial:
    return CanaryTrial(classifier, CanarySpec(int(classifier.version), percent, 0))


def compared(canary: CanaryTrial, agreement: str, *, times: int = 1, slower: float = 1.0) -> str | None:
    """What speaks against it after so many comparisons of one picture."""
    told = None
    for _ in range(times):
        told = canary.record_comparison(Comparison([agreement], 0.001, 0.001 * slower))
    return None if told is None else told.reason


def test_one_without_a_share_answers_nobody(classifier: Classifier) -> None:
    """A shadow does not, whether a request has an id or not."""
    canary = of_percent(classifier, 0)
    assert not any(canary.answers(name) for name in [*IDS, None])


def test_one_with_all_of_them_answers_everybody(classifier: Classifier) -> None:
    """Whether a request has an id or not."""
    canary = of_percent(classifier, 100)
    assert all(canary.answers(name) for name in [*IDS, *[None] * 1000])


def test_a_share_of_the_ids_is_theirs_for_good(classifier: Classifier, older: Classifier) -> None:
    """About as many as are told, the same each time; more percent keep them; another version takes others."""
    few, more, others = of_percent(classifier, 20), of_percent(classifier, 40), of_percent(older, 20)
    taken = {name for name in IDS if few.answers(name)}
    assert 0.17 < len(taken) / len(IDS) < 0.23
    assert taken == {name for name in IDS if few.answers(name)}
    assert taken < {name for name in IDS if more.answers(name)}
    assert 0.1 < sum(others.answers(name) for name in taken) / len(taken) < 0.3


def test_requests_without_an_id_are_shared_out_by_chance(classifier: Classifier) -> None:
    """Of 10,000, a fifth to a few percent."""
    canary = of_percent(classifier, 20)
    assert 0.17 < sum(canary.answers(None) for _ in range(10_000)) / 10_000 < 0.23


def test_failures_stop_it(classifier: Classifier) -> None:
    """The third of the last 200 answers; what is longer ago is forgotten."""
    canary, error = of_percent(classifier, 10), ValueError("no numbers")
    assert [canary.record_run(error) for _ in range(FAILURES - 1)] == [None] * (FAILURES - 1)
    assert [canary.record_run(None) for _ in range(WINDOW)] == [None] * WINDOW
    assert [canary.record_run(error) for _ in range(FAILURES - 1)] == [None] * (FAILURES - 1)
    stopped = canary.record_run(error)
    assert stopped is not None
    assert stopped.reason == "errors"
    sentence = "3 of its last 200 answers failed, and the limit is 3; this one with ValueError('no numbers')"
    assert stopped.sentence == sentence


def test_other_digits_stop_it(classifier: Classifier) -> None:
    """Over a tenth of the last 200 pictures that the served version does not doubt; doubted ones count for nothing."""
    canary = of_percent(classifier, 10)
    assert compared(canary, "different", times=20) is None
    assert compared(canary, "doubted", times=500) is None
    assert compared(canary, "same", times=180) is None
    assert compared(canary, "same", times=20) is None  # the first of all are forgotten
    assert compared(canary, "different", times=20) is None
    stopped = canary.record_comparison(Comparison(["same", "different"], 0.001, 0.001))
    assert stopped is not None
    assert (stopped.reason, stopped.sentence) == ("agreement", "it agrees on 89.5% of 200 pictures; the limit is 90%")


def test_nothing_is_said_of_agreement_before_200_pictures(classifier: Classifier) -> None:
    """However much it disagrees."""
    canary = of_percent(classifier, 10)
    assert compared(canary, "different", times=WINDOW - 1) is None
    assert compared(canary, "different") == "agreement"


def test_slow_runs_stop_it(classifier: Classifier) -> None:
    """More than three times as long as the served version's in the median, once there are 50."""
    canary = of_percent(classifier, 10)
    assert compared(canary, "same", times=COMPARISONS - 1, slower=4) is None
    stopped = canary.record_comparison(Comparison(["same"], 0.001, 0.004))
    assert stopped is not None
    assert (stopped.reason, stopped.sentence) == ("latency", "it takes 4.0 times as long; the limit is 3")
    steady = of_percent(classifier, 10)
    assert compared(steady, "same", times=COMPARISONS, slower=3) is None
    assert compared(steady, "same", times=COMPARISONS, slower=3.2) == "latency"
    assert compared(steady, "same", times=COMPARISONS, slower=1) is None
    assert compared(steady, "same", times=2 * WINDOW, slower=1) is None
    assert compared(steady, "same", times=WINDOW // 2 + 1, slower=4) == "latency"  # what is longer ago is forgotten


def test_a_shadow_is_only_watched(classifier: Classifier) -> None:
    """It answers nobody, and so may say what it wants, as slowly as it wants."""
    canary = of_percent(classifier, 0)
    assert compared(canary, "different", times=2 * WINDOW, slower=10) is None
