"""Compare runs: the hyperparameters that differ, and their results.

In: folders of runs, finished or not. Out: a table on the screen, and on request an HTML file with their curves in the
same axes, one for each value.

    python -m training compare runs/relu runs/sigmoid --html compare.html
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .. import files
from ..config import Config
from ..errors import UsageError
from .drawing import Curve, draw_curves, fill_template, list_curves
from .glossary import explain
from .losses import SHOWN, loss_of
from .run import read_epochs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from ..loop.fit import Epoch
    from .losses import Loss

HELP: Final = "compare runs: a table, and on request their curves"
RESULTS: Final = 5  # columns of the table, its last


@dataclass(frozen=True)
class Ran:
    """A run's name, hyperparameters and epochs, and its test accuracy if it has published a version."""

    name: str
    hyperparameters: dict[str, Any]
    epochs: list[Epoch]
    test_accuracy: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the runs and the file."""
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--html", type=Path, help="write the table and the runs' curves to this file")


def run(given: dict[str, Any]) -> None:
    """Compare the runs that have an epoch. Raises `UsageError` where none has one."""
    every = [read(folder) for folder in given["runs"]]
    runs = [ran for ran in every if ran.epochs]
    if not runs:
        raise UsageError(f"no epoch yet in {', '.join(map(str, given['runs']))}")
    left_out = _name_left_out(every)
    rows = tabulate(runs)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if left_out:
        print(left_out)
    if given["html"]:
        files.replace(given["html"], render_page(runs, left_out).encode())


def read(folder: Path) -> Ran:
    """Return the facts in a run's folder; raises `UsageError` where there are none."""
    try:
        hyperparameters = _defaults() | json.loads((folder / "config.json").read_text())
        epochs = read_epochs(folder)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{folder} is not the folder of a run of this program: {error}") from error
    return Ran(folder.resolve().name, hyperparameters, epochs, _test_accuracy(folder))


def _defaults() -> dict[str, Any]:
    """Return the hyperparameters that a run of an earlier release had without a name, at values as of a JSON file."""
    values: dict[str, Any] = json.loads(json.dumps(Config().hyperparameters()))
    return values


def _test_accuracy(folder: Path) -> float | None:
    """Return that of the card of the version that the run has published, as long as both exist."""
    try:
        version = Path(json.loads((folder / "published.json").read_text())["path"])
        return float(json.loads((version / "model.json").read_text())["metrics"]["test"]["accuracy"])
    except OSError:
        return None


def _name_left_out(every: Sequence[Ran]) -> str:
    """Return a line that names the runs without an epoch, if there are any."""
    names = [ran.name for ran in every if not ran.epochs]
    return f"left out, since no epoch has ended: {', '.join(names)}" if names else ""


def tabulate(runs: list[Ran]) -> list[list[str]]:
    """Return a row of headings, then one for each run: the hyperparameters that differ, and the results."""
    first = runs[0].hyperparameters
    differing = [name for name in first if any(run.hyperparameters[name] != first[name] for run in runs)]
    names = ["planned epochs" if name == "epochs" else name for name in differing]
    rows = [["run", *names, "epochs", "seconds", "validation NLL", "validation %", "test %"]]
    for run in runs:
        last = run.epochs[-1]
        facts = [f"{last.seconds:.1f}", f"{last.validation_nll:.4f}", f"{100 * last.validation_accuracy:.2f}"]
        tested = "" if run.test_accuracy is None else f"{100 * run.test_accuracy:.2f}"
        rows.append(
            [run.name, *(_text(run.hyperparameters[name]) for name in differing), str(last.epoch), *facts, tested]
        )
    return rows


def _text(value: object) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def render_page(runs: list[Ran], left_out: str = "") -> str:
    """Return the table, and the curves of all runs in the same axes, as one HTML file."""
    # The results come first here, because a narrow page shows the first columns.
    head, *rows = ([row[0], *row[-RESULTS:], *row[1:-RESULTS]] for row in tabulate(runs))
    cells = [[f'<th scope="col">{html.escape(name)}</th>' for name in head]]
    cells += [
        [f'<th scope="row">{html.escape(name)}</th>', *(f"<td>{html.escape(text)}</td>" for text in texts)]
        for name, *texts in rows
    ]
    names = [Curve(run.name, [], [], colour) for colour, run in enumerate(runs)]
    return fill_template(
        "compare.html",
        table="".join(f"<tr>{''.join(row)}</tr>" for row in cells),
        left_out=f"<p>{html.escape(left_out)}</p>" if left_out else "",
        legend=list_curves(names),
        curves="".join(_draw_charts(runs)),
    )


def _draw_charts(runs: list[Ran]) -> list[str]:
    """Draw what all runs have in common, and the training losses, each in a chart of its own."""
    losses = [
        _draw(loss.title, loss.unit, lambda epoch: epoch.loss, runs, loss)
        for loss in SHOWN
        if any(loss_of(run.hyperparameters) == loss for run in runs)
    ]
    return [
        _draw(
            "[validation|Validation] error, %", "% of digits", lambda epoch: 100 * (1 - epoch.validation_accuracy), runs
        ),
        _draw("[validation|Validation] [NLL], in [nats]", "nats", lambda epoch: epoch.validation_nll, runs),
        *losses,
        _draw(
            "[gradient norm|Gradient norm], first layer over last",
            "ratio",
            lambda epoch: epoch.gradient_norms[0] / epoch.gradient_norms[-1],
            runs,
        ),
    ]


def _draw(title: str, unit: str, value: Callable[[Epoch], float], runs: list[Ran], loss: Loss | None = None) -> str:
    """Draw a value by epoch of the runs with a loss, or of all; a run has the same colour in each chart."""
    curves = [
        Curve(run.name, [epoch.epoch for epoch in run.epochs], [value(epoch) for epoch in run.epochs], colour)
        for colour, run in enumerate(runs)
        if loss in {None, loss_of(run.hyperparameters)}
    ]
    return draw_curves(explain(title), curves, unit=unit, log=True, legend=False)
