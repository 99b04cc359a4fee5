from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from training.evaluation.metrics import calibration_error, evaluate, fit_temperature, outputs

if TYPE_CHECKING:
    from tests.support.training import Trained


def test_metrics_of_three_answers_are_those_of_pencil_and_paper() -> None:
    """Accuracy, NLL, recall and confusion of three answers, one of them wrong."""
    probabilities = torch.full((3, 10), 0.05)
    probabilities[0, 3] = probabilities[1, 3] = probabilities[2, 7] = 0.55
    metrics = evaluate(probabilities, torch.tensor([3, 4, 7]))
    assert metrics.count == 3
    assert metrics.accuracy == pytest.approx(2 / 3)
    assert metrics.nll == pytest.approx(-(2 * math.log(0.55) + math.log(0.05)) / 3, rel=1e-6)
    assert metrics.ece == pytest.approx(2 / 3 - 0.55, rel=1e-5)
    assert (metrics.recall[3], metrics.recall[4], metrics.recall[7]) == (1, 0, 1)
    assert metrics.confusion[4][3] == 1
    assert sum(map(sum, metrics.confusion)) == 3


def test_confidence_that_is_always_right_about_itself_has_no_calibration_error() -> None:
    """Of a hundred answers given with 60 %, sixty are right: the error is 0; were all right, it would be 0.4."""
    probabilities = torch.full((100, 10), 0.4 / 9)
    probabilities[:, 0] = 0.6
    labels = torch.tensor([0] * 60 + [1] * 40)
    assert calibration_error(probabilities, labels) == pytest.approx(0, abs=1e-6)
    assert calibration_error(probabilities, torch.zeros(100, dtype=torch.int64)) == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    """Labels drawn from a softmax, logits then multiplied: the fit finds by how much."""
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(50_000, 10, generator=random) * 2
    labels = torch.multinomial(functional.softmax(logits, dim=1), 1, generator=random)[:, 0]
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.03)


def test_the_temperature_is_the_best_on_validation(trained: Trained) -> None:
    """No temperature a little higher or lower, nor none at all, has a lower NLL."""
    logits = outputs(trained.network, trained.validation.images)
    labels = trained.validation.labels
    best = fit_temperature(logits, labels)
    fitted, *others = (
        functional.cross_entropy(logits / t, labels).item() for t in (best, 1.0, best * 1.05, best / 1.05)
    )
    assert fitted <= min(others)


def test_answers_without_an_error_get_a_finite_temperature() -> None:
    """Where every answer is right the best temperature would be 0; the least that is given is 0.1."""
    logits = functional.one_hot(torch.arange(10)).float()
    assert fit_temperature(logits, torch.arange(10)) == pytest.approx(0.1)
