"""The report of a run: one file that needs no other, and says what the run was."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import onnx
import pytest
import torch

from tests.support.training import SMALL, visible_text
from training.evaluation.metrics import outputs
from training.export.quantise import Export
from training.export.to_onnx import to_onnx
from training.loop.fit import Epoch
from training.reporting.report import Findings, render_report

if TYPE_CHECKING:
    from tests.support.training import Trained


EPOCHS = [Epoch(n, 0.5 / n, 0.3 / n, 1 - 0.1 / n, 2.0 * n, 0.001 * n, [0.3, 0.2, 0.1]) for n in (1, 2, 3)]
EXPORTS = {"fp32": Export(1000, 0.9912, 0.03, 30.0), "int8": Export(400, 0.9910, 0.03, 25.0)}


@pytest.fixture(scope="module")
def findings(trained: Trained) -> Findings:
    network, digits = trained
    return Findings(SMALL, network, "a wheel", digits, outputs(network.probabilities, digits.images), EXPORTS, 101)


@pytest.fixture(scope="module")
def page(findings: Findings) -> str:
    return render_report(findings, EPOCHS)


def test_the_report_needs_no_other_file(page: str) -> None:
    """Nothing is fetched: no address but the names of SVG's namespaces, every picture a data URL."""
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert not re.search(r"<script|@import|url\((?!#)", page)


def test_the_report_shows_the_ways_to_ship(page: str) -> None:
    """fp32 and its int8 variant are in one table, with accuracy, size and time."""
    (table,) = re.findall(r"Ways to ship it.*?<table>(.*?)</table>", page)
    cells = [re.findall(r"<t[hd][^>]*>([^<]*)", row) for row in table.split("<tr>")]
    assert cells[1:] == [
        ["", "accuracy", "kB", "µs an image"],
        ["fp32", "99.12%", "1", "30"],
        ["int8", "99.10%", "0", "25"],
    ]


def test_the_report_shows_the_run(page: str, trained: Trained) -> None:
    """Curves by name, the confusion's counts, the layers with their parameters, the knobs."""
    seen = visible_text(page)
    titles = ("Loss, in nats", "Learning rate", "Gradient norm by layer", "Reliability", "Confusion")
    assert all(title in seen for title in titles)
    assert "a wheel" in seen
    assert "hidden 64, 32 " in seen


def test_the_parameters_add_up(page: str, trained: Trained) -> None:
    """The sums of the layers, batch norm included, are the whole; the file has as many as its ONNX graph."""
    seen = visible_text(page)
    learnt = sum(parameter.numel() for parameter in trained.network.parameters())
    sums = [int(number.replace(",", "")) for number in re.findall(r"weights [^=]*= ([\d,]+)", seen)]
    assert sum(sums) == learnt
    assert f"{learnt:,} parameters" in seen
    graph = onnx.load_model_from_string(to_onnx(trained.network)).graph
    gemms = {name for node in graph.node if node.op_type == "Gemm" for name in node.input}
    exported = sum(math.prod(tensor.dims) for tensor in graph.initializer if tensor.name in gemms)
    assert f"The exported file has {exported:,}: batch norm" in seen
    assert exported < learnt


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
