"""Compare runs: the hyperparameters that differ, and their results.

In: folders of runs, finished or not. Out: a table on the screen, and on request an HTML file with their curves in the
same axes.

    python -m training compare runs/relu runs/sigmoid --html compare.html
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import matplotlib.style

from .. import files
from ..errors import UsageError
from .report import HERE, fill_template, make_axes, to_svg
from .run import read_epochs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..loop.fit import Epoch

HELP: Final = "compare runs: a table, and on request their curves"
CURVES: Final[dict[str, Callable[[Epoch], float]]] = {
    "Validation error, %": lambda epoch: 100 * (1 - epoch.validation_accuracy),
    "Validation NLL, in nats": lambda epoch: epoch.validation_nll,
    "Training loss, augmented digits": lambda epoch: epoch.loss,
    "Gradient norm, first layer over last": lambda epoch: epoch.gradient_norms[0] / epoch.gradient_norms[-1],
}


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
    """Compare the runs. Raises `UsageError`."""
    runs = [read(folder) for folder in given["runs"]]
    rows = tabulate(runs)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if given["html"]:
        files.replace(given["html"], render_page(runs).encode())


def read(folder: Path) -> Ran:
    """Return the facts in a run's folder; raises `UsageError` where there are none."""
    try:
        hyperparameters = json.loads((folder / "config.json").read_text())
        epochs = read_epochs(folder)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{folder} is not the folder of a run of this program: {error}") from error
    if not epochs:
        raise UsageError(f"{folder}: this run has no epoch yet")
    return Ran(folder.name, hyperparameters, epochs, _test_accuracy(folder))


def _test_accuracy(folder: Path) -> float | None:
    """Return that of the card of the version that the run has published, as long as both exist."""
    try:
        version = Path(json.loads((folder / "published.json").read_text())["path"])
        return float(json.loads((version / "model.json").read_text())["metrics"]["test"]["accuracy"])
    except OSError:
        return None


def tabulate(runs: list[Ran]) -> list[list[str]]:
    """Return a row of headings, then one for each run: the hyperparameters that differ, and the results."""
    first = runs[0].hyperparameters
    differing = [name for name in first if any(run.hyperparameters.get(name) != first[name] for run in runs)]
    rows = [["run", *differing, "epochs", "seconds", "validation NLL", "validation %", "test %"]]
    for run in runs:
        last = run.epochs[-1]
        facts = [f"{last.seconds:.1f}", f"{last.validation_nll:.4f}", f"{100 * last.validation_accuracy:.2f}"]
        tested = "" if run.test_accuracy is None else f"{100 * run.test_accuracy:.2f}"
        rows.append(
            [run.name, *(_text(run.hyperparameters.get(name)) for name in differing), str(last.epoch), *facts, tested]
        )
    return rows


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def render_page(runs: list[Ran]) -> str:
    """Return the table, and the curves of all runs in the same axes, as one HTML file."""
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in tabulate(runs)]
    with mpl.style.context(HERE / "report.mplstyle"):
        curves = "".join(_draw(title, value, runs) for title, value in CURVES.items())
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    return fill_template("compare.html", table=table, curves=curves)


def _draw(title: str, value: Callable[[Epoch], float], runs: list[Ran]) -> str:
    figure, axes = make_axes(title, "epoch", size=(5, 3.8))
    for run in runs:
        axes.plot([epoch.epoch for epoch in run.epochs], [value(epoch) for epoch in run.epochs], label=run.name)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=3)
    return to_svg(figure, title)
