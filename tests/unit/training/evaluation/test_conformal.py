"""The quantiles on the card: their formula, and that they cover the right digits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.support.service import MODELS
from training import data
from training.evaluation.conformal import LEVELS, calibrate, quantile
from training.evaluation.onnx_runtime import run_onnx
from training.service_picture import make_sets, read_quantiles
from training.synthesis import rendered

if TYPE_CHECKING:
    from training.data import Dataset

MODEL = (MODELS / "2" / "model.onnx").read_bytes()


def test_levels_are_from_90_to_9999_and_have_the_usual_ones() -> None:
    """Ascending, both limits of the API included."""
    assert list(LEVELS) == sorted(set(LEVELS))
    assert (LEVELS[0], LEVELS[-1]) == (0.9, 0.9999)
    assert {0.95, 0.99, 0.995, 0.999} < set(LEVELS)


@pytest.mark.parametrize(
    ("count", "level", "rank"),
    [(99, 0.9, 90), (100, 0.9, 91), (999, 0.999, 999), (998, 0.999, None), (9999, 0.9999, 9999), (8, 0.9, None)],
)
def test_a_quantile_is_the_score_of_its_rank(count: int, level: float, rank: int | None) -> None:
    """The ceil((n + 1) · level)-th smallest, without an error of rounding; infinity where there are too few."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert quantile(scores, level) == (math.inf if rank is None else rank)


def test_a_further_score_is_within_the_quantile_as_often_as_the_level_says() -> None:
    """Drawn ten thousand times: the share is at least the level, and not by more than 1/(n + 1)."""
    rng = np.random.default_rng(1)
    draws = rng.exponential(size=(10_000, 50))
    within = np.mean([draw[-1] <= quantile(draw[:-1], 0.9) for draw in draws])
    assert within == pytest.approx(0.9, abs=0.01)


def test_the_larger_quantile_counts_and_a_source_that_is_too_small_gives_none() -> None:
    """Two sources of version 2: the levels of both, and nulls where the smaller has too few digits."""
    pictures = rendered.load()[1]
    digits = pictures.take(pictures.labels < 10)
    few = digits.take(torch.arange(199))
    alone = [calibrate(MODEL, {"one": source})["quantiles"] for source in (digits, few)]
    both = calibrate(MODEL, {"one": digits, "two": few})
    assert both["counts"] == {"one": len(digits.labels), "two": 199}
    assert both["quantiles"] == [None if None in pair else max(pair) for pair in zip(*alone, strict=True)]
    assert next(level for level, value in zip(LEVELS, both["quantiles"], strict=True) if value is None) == 0.996


@pytest.mark.parametrize("level", [0.99, 0.995, 0.999])
def test_version_2_covers_the_right_digits(dataset: Dataset, level: float) -> None:
    """Calibrated on validation digits and held-out pictures: MNIST's test digits, with the level less 0.1 point."""
    _, validation = data.split(dataset.train, 1 / 12)
    pictures = rendered.load()[1]
    card = calibrate(MODEL, {"validation": validation, "rendered": pictures.take(pictures.labels < 10)})
    assert _covered(card, dataset.test, level) >= level - 0.001


def test_version_2_covers_rendered_pictures_that_are_not_its_calibrations() -> None:
    """Calibrated on two thirds of them: the rest, within three standard deviations of the coverage."""
    pictures = rendered.load()[1]
    pictures = pictures.take(pictures.labels < 10)
    third = torch.arange(len(pictures.labels)) % 3 == 0
    card = calibrate(MODEL, {"rendered": pictures.take(~third)})
    assert _covered(card, pictures.take(third), 0.95) >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / third.sum())


def _covered(card: dict[str, Any], digits: data.Digits, level: float) -> float:
    """The share of the sets that hold the right digit."""
    quantiles = read_quantiles({"conformal": card})
    assert quantiles is not None
    sets = make_sets(run_onnx(MODEL, digits.images).numpy(), quantiles.at(level))
    return float(np.mean([label in one for label, one in zip(digits.labels.tolist(), sets, strict=True)]))
