"""The report of a run: one file that needs no other, and says what the run was."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING, Any

import onnx
import pytest
import torch
from rich.console import Console

from tests.support.training import SMALL, visible_text
from training.data.digits import Digits
from training.errors import Diverged
from training.evaluation.metrics import outputs
from training.export.quantise import Export
from training.export.to_onnx import to_onnx
from training.loop.fit import Epoch
from training.network.mlp import Network
from training.reporting.drawing import round_numbers
from training.reporting.glossary import GLOSSARY
from training.reporting.report import EarlyReport, Findings, render_report
from training.reporting.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.training import Trained


EPOCHS = [Epoch(n, 0.5 / n, 0.3 / n, 1 - 0.1 / n, 2.0 * n, 0.001 * n, [0.3, 0.2, 0.1]) for n in (1, 2, 3)]
EXPORTS = {"fp32": Export(1000, 0.9912, 0.03, 30.0), "int8": Export(400, 0.9910, 0.03, 25.0)}


@pytest.fixture(scope="module")
def findings(trained: Trained) -> Findings:
    network, digits = trained
    return Findings(SMALL, network, "a wheel", digits, outputs(network.probabilities, digits.images), EXPORTS)


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
    folded = "batch norm is folded into the weights and biases before it, principal components into those after them."
    assert f"The exported file has {exported:,}: {folded}" in seen


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


def test_one_epoch_is_drawn_as_bars(findings: Findings) -> None:
    """A run of one epoch has no curve of one point: its values stand at bars, with the names of what they are."""
    page = render_report(findings, EPOCHS[:1])
    (losses,) = re.findall(r"Loss, in .*?</svg>", page, re.DOTALL)
    assert "<use" in losses.split("</svg>")[0]  # the ticks
    assert re.findall(r"<text[^>]*>([^<]*)</text>", losses)[-4:] == ["training", "validation", "0.5", "0.3"]
    assert 'aria-label="Loss, in nats: cross-entropy: training from 0.5 to 0.5; validation from 0.3 to 0.3"' in page


def test_the_brier_score_has_an_axis_of_its_own(findings: Findings) -> None:
    """With `--loss mse`, the training loss is the Brier score, and the validation NLL is beside it in nats."""
    config = replace(findings.config, loss="mse")
    page = render_report(replace(findings, config=config), EPOCHS)
    seen = visible_text(page)
    assert "Training loss: Brier score" in seen
    assert "Validation NLL, in nats" in seen
    assert "cross-entropy" not in seen
    (brier,) = re.findall(r"Training loss: .*?</figure>", page, re.DOTALL)
    assert ">Brier score</text>" in brier
    assert ">nats</text>" not in brier


def test_what_a_network_learns_from_its_teacher_is_no_cross_entropy(findings: Findings) -> None:
    """With a teacher, the training loss is the divergence from it, in a chart of its own."""
    config = replace(findings.config, components=0, teacher_epochs=3)
    seen = visible_text(render_report(replace(findings, config=config), EPOCHS))
    assert "Training loss: divergence from the teacher" in seen
    assert "epochs, after 3 of the teacher" in seen
    assert "Validation NLL, in nats" in seen
    assert "cross-entropy" not in seen


def test_words_are_explained(page: str) -> None:
    """Each word that can be looked up is a button, described by a line of its own that is there."""
    for word in ("NLL", "nats", "ECE", "calibrated", "deslant", "temperature", "accuracy"):
        (number, *_) = re.findall(rf'aria-describedby="(w\d+)">{word}</button>', page)
        (line,) = re.findall(rf'<span role="tooltip" id="{number}">([^<]*)</span>', page)
        assert unescape(line) == GLOSSARY[word]
    explained = re.findall(r'aria-describedby="(w\d+)"', page)
    assert len(explained) == len(set(explained))


@pytest.mark.parametrize(
    ("knobs", "shown"),
    [
        (
            {"hidden": (30,), "components": 0, "deslant": False, "batch_norm": False, "activation": "sigmoid"},
            "normalise: (pixel / 255 - 0.1307) / 0.3081 12 of 784 inputs and the bias, joined to 12 of 30 neurons "
            "784 × 30 weights + 30 biases = 23,550 30 neurons: Sigmoid 12 of 30 inputs and the bias, joined to "
            "10 neurons 30 × 10 weights + 10 biases = 310 logits / temperature 1.000 softmax: ten probabilities",
        ),
        (
            {"hidden": (8,), "components": 0, "shifts": True},
            "deslant, and crop to 26 × 22 pixels normalise: (pixel / 255 - 0.1307) / 0.3081 12 of 572 inputs and the "
            "bias, joined to 8 neurons 572 × 8 weights + 16 of batch norm = 4,592 8 neurons: ReLU 8 inputs and the "
            "bias, joined to 10 neurons 8 × 10 weights + 10 biases = 90 shifts: the mean of the logits of nine places",
        ),
        (
            {"hidden": (8,), "components": 40},
            "deslant, and crop to 26 × 22 pixels 40 principal components, part of the first weights 12 of 572 inputs "
            "and the bias, joined to 8 neurons 40 × 8 weights + 16 of batch norm = 336 8 neurons: ReLU",
        ),
        (
            {"hidden": (), "components": 0, "deslant": False, "batch_norm": False},
            "12 of 784 inputs and the bias, joined to 10 neurons 784 × 10 weights + 10 biases = 7,850 logits",
        ),
    ],
)
def test_the_diagram_has_every_layer(findings: Findings, knobs: dict[str, Any], shown: str) -> None:
    """Fixed layers, learnt ones with their parameters, activations and biases, in the order of the arithmetic."""
    config = replace(SMALL, **knobs)
    digits = Digits(findings.test.images[:0], findings.test.labels[:0])
    page = render_report(Findings(config, Network.of(config).eval(), "a wheel", digits), [], ended="stopped")
    assert shown in visible_text(re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))


def test_a_run_that_ends_early_has_a_report(findings: Findings, tmp_path: Path) -> None:
    """It has what there is, and says at its top why it has ended; its weights may be no numbers."""
    run = Run(replace(SMALL, run_dir=tmp_path / "run", models_dir=tmp_path / "models"), Console(quiet=True))
    network = Network.of(SMALL)
    network.layers[0].weight.data.fill_(math.nan)
    with pytest.raises(Diverged), EarlyReport() as early:
        early.begin(run, Findings(SMALL, network, "a wheel", findings.test))
        raise Diverged("the loss is nan in epoch 1")
    seen = visible_text((run.folder / "report.html").read_text())
    assert "This run ended early. the loss is nan in epoch 1" in seen
    assert "No epoch has ended." in seen
    assert "The network was not measured on them." in seen


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.055, 0.24, [0.05, 0.1, 0.2, 0.3]),
        (0.55, 0.6, [0.5, 0.6]),
        (2.0, 2.0, [2.0, 2.5]),
        (3e-9, 0.5, [1e-9, 1e-7, 1e-5, 1e-3, 1e-1, 10]),
    ],
)
def test_a_logarithmic_axis_has_labels(low: float, high: float, ticks: list[float]) -> None:
    """From two round numbers to seven, with all values between the first and the last."""
    assert round_numbers(low, high) == pytest.approx(ticks)
