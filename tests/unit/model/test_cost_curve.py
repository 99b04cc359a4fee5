"""What a run costs is measured when a model is loaded, and told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.model.cost_curve import BUDGET, SIZES, Costs, measure

if TYPE_CHECKING:
    import httpx

    from service.arrays import Pixels, Probabilities
    from service.model.classifier import Classifier


def test_costs_between_and_beyond_what_was_measured() -> None:
    """Straight lines between the sizes; twice as many pictures as were measured are two runs."""
    costs = Costs({1: 0.002, 2: 0.003, 4: 0.005})
    assert [costs.seconds(n) for n in (0, 1, 3, 4, 8)] == pytest.approx([0, 0.002, 0.004, 0.005, 0.01])


def test_the_committed_model_is_measured(classifier: Classifier) -> None:
    """A small model costs microseconds, and less for each picture of a larger batch."""
    assert 1e-6 < classifier.costs.seconds(1) < 0.01
    assert classifier.costs.seconds(64) / 64 < classifier.costs.seconds(1)


def test_a_large_model_is_not_measured_for_long(classifier: Classifier) -> None:
    """Runs of 64 pictures are left out, and drawn on from the smaller ones, where those have taken the time."""
    sizes = []

    def slow(images: Pixels) -> Probabilities:
        sizes.append(len(images))
        for _ in range(200):
            found = classifier.predict(images)
        return found

    costs = measure(slow)
    assert max(sizes) < SIZES[-1]
    assert costs.seconds(64) > BUDGET / 10


def test_costs_are_metrics(client: httpx.Client, classifier: Classifier) -> None:
    """`/metrics` has the seconds of a run for each size."""
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith("mnist_batch_cost_seconds{")]
    assert [line.partition("} ")[0] for line in lines] == [f'mnist_batch_cost_seconds{{size="{n}"' for n in SIZES]
    assert all(0 < float(line.partition("} ")[2]) < 1 for line in lines)
