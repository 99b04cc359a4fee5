"""The report of a run: one file that needs no other, and says what the run was."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.training import SMALL
from training.evaluation.metrics import evaluate, outputs
from training.export import card
from training.export import to_onnx as export
from training.export.quantise import Export
from training.loop.fit import Epoch
from training.reporting.report import render_report

if TYPE_CHECKING:
    from tests.support.training import Trained
    from training.data.mnist import Dataset

EPOCHS = [Epoch(n, 0.5 / n, 0.3 / n, 1 - 0.1 / n, 2.0 * n, 0.001 * n, [0.3, 0.2, 0.1]) for n in (1, 2, 3)]
EXPORTS = {"fp32": Export(1000, 0.9912, 0.03, 30.0), "int8": Export(400, 0.9910, 0.03, 25.0)}


@pytest.fixture(scope="module")
def page(trained: Trained, dataset: Dataset) -> str:
    network, digits = trained
    probabilities = outputs(network.probabilities, digits.images)
    metrics = {name: evaluate(probabilities, digits.labels) for name in ("validation", "rendered", "test")}
    facts = card.describe(
        SMALL,
        dataset,
        run="a",
        epochs=EPOCHS,
        metrics=metrics,
        parity=export.Parity(10, 1e-6),
        exports=EXPORTS,
        temperature=1.0,
    )
    return render_report(facts, network, digits, probabilities)


def test_the_report_needs_no_other_file(page: str) -> None:
    """Nothing is fetched: no address but the names of SVG's namespaces, every picture a data URL."""
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert not re.search(r"<script|@import|url\((?!#)", page)


def test_the_report_shows_the_ways_to_ship(page: str) -> None:
    """fp32 and its int8 variant are in one table, with accuracy, size and time."""
    assert "99.12% accuracy, 1 kB, 30 µs an image" in page
    assert "99.10% accuracy, 0 kB, 25 µs an image" in page


def test_the_report_shows_the_run(page: str, trained: Trained) -> None:
    """Curves by name, the confusion's counts, the layers with their parameters, the knobs."""
    for words in ("Loss, in nats", "Learning rate", "Gradient norm by layer", "Reliability", "Confusion"):
        assert words in page
    weights = sum(parameter.numel() for parameter in trained.network.layers[0].parameters())
    assert f"{weights:,}" in page
    assert "<td>hidden</td><td>(64, 32)</td>" in page


def test_the_worst_mistakes_are_the_surest_wrong_answers(page: str, trained: Trained) -> None:
    """The first mistake shown is the wrong answer with the highest probability, beside what the digit is."""
    network, digits = trained
    confidence, answers = outputs(network.probabilities, digits.images).max(dim=1)
    wrong = torch.where(answers != digits.labels, confidence, torch.zeros(()))
    worst = int(wrong.argmax())
    first = re.search(r"<figcaption><b>(\d)</b> (\d+)%<br>is (\d)", page)
    assert first
    assert [int(number) for number in first.groups()] == [
        int(answers[worst]),
        round(100 * float(confidence[worst])),
        int(digits.labels[worst]),
    ]
