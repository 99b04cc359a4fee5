"""The report of a run: one self-contained HTML file with its learning curves, results, network and facts.

In: what the run has found, and its epochs. Out: HTML, drawings inline as SVG and PNG. A run that ends early has a
report too, with what there is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import html
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np
import torch

from ..config import describe_fields
from ..data.augment import Augment
from ..data.digits import CLASSES
from ..errors import Lost, TrainingError
from ..evaluation.metrics import BINS, evaluate
from ..export.card import describe_environment
from ..loop.distributed import process_count
from ..loop.fit import learning_rates
from ..network.inputs import Components
from ..synthesis.rendered import CYCLE
from .diagram import count_parameters, draw_first_layer, draw_network, to_png
from .drawing import Curve, axes_of, draw_curves, fill_template, frame, scale_log, to_svg
from .glossary import explain, explain_by
from .losses import CROSS_ENTROPY, loss_of
from .run import Run, read_epochs
from .screen import format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from ..config import Config
    from ..data.digits import Digits
    from ..evaluation.metrics import Metrics
    from ..export.quantise import Export
    from ..loop.fit import Epoch
    from ..network.mlp import Network
    from .run import NonMainProcess

MISTAKES: Final = 40  # at most so many are shown, the worst first
NO_DIGIT: Final = 1 - CLASSES / CYCLE  # share of the rendered pictures


@dataclasses.dataclass
class Findings:
    """What a run has found so far: more and more of it, until it ends.

    `source` is that of the data, `probabilities` float32[N,10] are those of the test digits, `version` is the folder of
    what is published.
    """

    config: Config
    network: Network
    source: str
    test: Digits
    probabilities: Tensor | None = None
    exports: Mapping[str, Export] = dataclasses.field(default_factory=dict)
    version: Path | None = None


class EarlyReport:
    """A context manager that writes the report of a run that ends early, with what it has found until then.

    A run that has lost one of its processes gets none: torchrun ends it within a second, and starts it anew.
    """

    def __init__(self) -> None:
        self._begun: tuple[Run, Findings] | None = None

    def begin(self, run: Run | NonMainProcess, findings: Findings) -> Findings:
        """Take a run and what it has found, which may grow."""
        if isinstance(run, Run):
            self._begun = run, findings
        return findings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, end: BaseException | None, __: object) -> None:
        if self._begun and end and not isinstance(end, Lost):
            run, findings = self._begun
            run.stage("")
            with contextlib.suppress(OSError):  # such as a full disk, which may be why the run ends
                run.save_report(render_report(findings, read_epochs(run.folder), ended=_reason(end)))


def _reason(end: BaseException) -> str:
    """Return why a run has ended, as a sentence."""
    if isinstance(end, SystemExit | KeyboardInterrupt):
        return "stopped by Ctrl-C or SIGTERM"
    return str(end) if isinstance(end, TrainingError | OSError) else f"{type(end).__name__}: {end}"


def render_report(findings: Findings, epochs: Sequence[Epoch], *, ended: str = "") -> str:
    """Return the HTML of a run; `ended` is the reason why it has ended early, if it has."""
    config, network, facts = findings.config, findings.network.cpu(), describe_environment()
    tested = None if findings.probabilities is None else evaluate(findings.probabilities, findings.test.labels)
    version = f", version {findings.version.name}" if findings.version else ""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return fill_template(
        "report.html",
        title=html.escape(f"{config.name}{version}: recipe {config.recipe}"),
        subtitle=html.escape(f"{now}, seed {config.seed}, {config.device}, on digits from {findings.source}"),
        ended=f'<p class="ended"><b>This run ended early.</b> {html.escape(ended)}</p>' if ended else "",
        facts=_headline(findings, epochs, tested),
        curves=_row(*_curves(config, epochs)) if epochs else "<p>No epoch has ended.</p>",
        results=_results(findings, tested) if tested else "<p>The network was not measured on them.</p>",
        network=_row(
            frame("Layers, from pixels to probabilities", draw_network(network, shifts=config.shifts), _sums(network)),
            frame("What the first layer looks for", draw_first_layer(network)) + _exports(findings.exports),
        ),
        run=_row(
            _hyperparameters(config),
            _table(
                "Environment",
                {**facts["libraries"], **facts["environment"], **facts["git"], "processes": process_count()},
            ),
        ),
    )


def _row(*figures: str) -> str:
    return f'<div class="row">{"".join(f"<div>{figure}</div>" for figure in figures)}</div>'


def _headline(findings: Findings, epochs: Sequence[Epoch], tested: Metrics | None) -> str:
    """Return the numbers of the run in large type."""
    numbers = {}
    if tested:
        wrong = round((1 - tested.accuracy) * tested.count)
        numbers = {
            f"test [accuracy], {wrong:,} wrong": f"{tested.accuracy:.2%}",
            "[NLL], in [nats]": f"{tested.nll:.4f}",
            "calibration error ([ECE])": f"{tested.ece:.2%}",
        }
    elif epochs:
        numbers = {
            "[validation] [accuracy]": f"{epochs[-1].validation_accuracy:.2%}",
            "validation [NLL], in [nats]": f"{epochs[-1].validation_nll:.4f}",
        }
    numbers["[parameters]"] = f"{count_parameters(findings.network)[0]:,}"
    if epochs:
        before = f", after {teacher} of the [teacher]" if (teacher := findings.config.teacher_epochs) else ""
        name = f"training, {len(epochs)} [epoch|epoch{'s' if len(epochs) > 1 else ''}]{before}"
        numbers[name] = format_seconds(epochs[-1].seconds)
    return "".join(f"<div><b>{value}</b>{explain(name)}</div>" for name, value in numbers.items())


def _curves(config: Config, epochs: Sequence[Epoch]) -> list[str]:
    """Draw what changes from epoch to epoch; values of different units are in different charts."""
    numbers = [epoch.epoch for epoch in epochs]
    training = Curve("training", numbers, [epoch.loss for epoch in epochs])
    validation = Curve("validation", numbers, [epoch.validation_nll for epoch in epochs], 1)
    errors = Curve("validation", numbers, [100 * (1 - epoch.validation_accuracy) for epoch in epochs], 1)
    norms = [
        Curve(f"layer {layer}", numbers, values, layer - 1)
        for layer, values in enumerate(zip(*(epoch.gradient_norms for epoch in epochs), strict=True), start=1)
    ]
    when, rate = zip(*learning_rates(config), strict=True)
    rates = Curve("learning rate", when, rate, 2)
    loss = loss_of(config.hyperparameters())
    if loss == CROSS_ENTROPY:
        title = explain("Loss, in [nats]: [cross-entropy]")
        note = f"<p>{explain(_explain_loss(config))}</p>"
        losses = [draw_curves(title, [training, validation], unit="nats", log=True, note=note)]
    else:
        note = "<p>It measures something else than the validation NLL, so the two cannot be compared.</p>"
        losses = [
            draw_curves(explain(loss.title), [training], unit=loss.unit, log=True, note=note),
            draw_curves(explain("[validation|Validation] [NLL], in [nats]"), [validation], unit="nats", log=True),
        ]
    return [
        *losses,
        draw_curves(explain("[validation|Validation] error, %"), [errors], unit="% of digits", log=True),
        draw_curves(explain("[learning rate|Learning rate]"), [rates], unit="learning rate"),
        draw_curves(explain("[gradient norm|Gradient norm] by layer"), norms, unit="mean of the epoch", log=True),
    ]


def _explain_loss(config: Config) -> str:
    """Return why the cross-entropy in training may be above that of the validation digits."""
    reasons = ["it is the mean over an epoch, while the network still learns, and [validation] comes after it"]
    if any(getattr(config, field.name) for field in dataclasses.fields(Augment)):
        reasons.append("the network trains on [augmented] digits, which are harder")
    if config.seen:
        pictures = f"about {config.seen * NO_DIGIT:,.0f} pictures to train on show no digit"
        reasons.append(f"{pictures}, and there even the best loss is ln 10 = 2.30 nats")
    return f"Why training can be above validation: {'; '.join(reasons)}."


def _results(findings: Findings, tested: Metrics) -> str:
    probabilities = cast("Tensor", findings.probabilities)
    mistakes = _mistakes(findings.test, probabilities)
    return (
        _row(_confusion(tested.confusion), _reliability(probabilities, findings.test.labels))
        + "<h2>Worst mistakes</h2><p>The most confident ones first: the answer and its confidence, then the digit and "
        f'its probability.</p><div class="mistakes">{mistakes}</div>'
    )


def _confusion(counts: Sequence[Sequence[int]]) -> str:
    most = max(1, *(n for digit, row in enumerate(counts) for answer, n in enumerate(row) if digit != answer))
    rows = "".join(
        f'<tr><th scope="row">{digit}</th>'
        + "".join(_draw_cell(digit, answer, count, count / most) for answer, count in enumerate(row))
        + "</tr>"
        for digit, row in enumerate(counts)
    )
    head = "".join(f'<th scope="col">{digit}</th>' for digit in range(CLASSES))
    note = "<p>A row is a digit, a column is an answer. Grey counts are right.</p>"
    return frame("Confusion", f'<table class="confusion"><tr><td></td>{head}</tr>{rows}</table>', note)


def _draw_cell(digit: int, answer: int, count: int, share: float) -> str:
    if digit == answer:
        return f'<td class="right">{count}</td>'
    return f'<td style="--share: {70 * share:.0f}%" title="{digit} read as {answer}">{count or ""}</td>'


def _reliability(probabilities: Tensor, labels: Tensor) -> str:
    """Draw accuracy against confidence in bins of equal width, with the number of digits in each."""
    confidence, answers = probabilities.max(dim=1)
    right = (answers == labels).double()
    bins = (confidence.double() * BINS).ceil().long().clamp(1, BINS) - 1
    counts = torch.bincount(bins, minlength=BINS)
    filled = counts > 0
    x, y = (
        (torch.bincount(bins, weights, minlength=BINS)[filled] / counts[filled]).tolist()
        for weights in (confidence.double(), right)
    )
    with axes_of(4.2, rows=(3, 1)) as (figure, axes):
        axes.plot([0, 1], [0, 1], "--", color="#999999", linewidth=1)
        axes.plot(x, y, marker="o", color="C0")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), ylabel="accuracy")
        below = figure.axes[1]
        below.bar((np.arange(BINS) + 0.5) / BINS, counts.numpy(), 0.9 / BINS, color="C5")
        scale_log(below, 1, counts.max().item())
        below.set(xlabel="confidence", ylabel="digits")
        drawing = to_svg(figure, f"accuracy by confidence, in {len(x)} bins")
    note = (
        "Where the line is below the dashed one, the network is too sure. Below: how many digits have the confidence."
    )
    return frame(explain("Reliability: is it [calibrated]?"), drawing, f"<p>{note}</p>")


def _mistakes(digits: Digits, probabilities: Tensor) -> str:
    confidence, answers = probabilities.max(dim=1)
    wrong = torch.nonzero(answers != digits.labels)[:, 0]
    worst = wrong[confidence[wrong].argsort(descending=True)][:MISTAKES]
    return "".join(
        f"<figure><img src='{to_png(255 - digits.images[i, 0].numpy())}' alt='a digit {digits.labels[i]}'>"
        f"<figcaption><b>{answers[i]}</b> {confidence[i]:.0%}<br>is {digits.labels[i]}"
        f" {probabilities[i, digits.labels[i]]:.1%}</figcaption></figure>"
        for i in worst.tolist()
    )


def _sums(network: Network) -> str:
    """Return how many numbers the network has, where training learns them and where the file holds them."""
    learnt, exported = count_parameters(network)
    text = f"Lines are weights: red ones raise a neuron, blue ones lower it. Training learns {learnt:,} [parameters]. "
    if learnt == exported:
        return f"<p>{explain(text)}The exported file has as many.</p>"
    folded = f"The exported file has {exported:,}: [batch norm] is folded into the weights and biases before it"
    folded += ", [principal components] into those after them." if isinstance(network.inputs, Components) else "."
    return f"<p>{explain(text + folded)}</p>"


def _exports(exports: Mapping[str, Export]) -> str:
    if not exports:
        return ""
    head = "".join(f'<th scope="col" class="n">{name}</th>' for name in ("accuracy", "kB", "µs an image"))
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td class="n">{each.accuracy:.2%}</td>'
        f'<td class="n">{each.bytes / 1000:,.0f}</td><td class="n">{each.microseconds:.0f}</td></tr>'
        for name, each in exports.items()
    )
    return frame(explain("Ways to ship it: fp32 and [int8]"), f"<table><tr><td></td>{head}</tr>{rows}</table>")


def _hyperparameters(config: Config) -> str:
    reasons = describe_fields()
    rows = {explain_by(name, reasons[name]): _text(value) for name, value in config.hyperparameters().items()}
    return _table("Hyperparameters", rows)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(title: str, facts: Mapping[str, Any]) -> str:
    """Return two columns: names, which are HTML, and values."""
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{html.escape(str(value))}</td></tr>' for name, value in facts.items()
    )
    return frame(title, f"<table>{rows}</table>")
