"""Runs side by side: what differed between them, and what came of it.

In: folders of runs, finished or not. Out: a table on the screen, and on request an HTML file with their curves in the
same axes. It reads the facts that runs leave, and knows nothing of how they came about.

    python -m training compare runs/relu runs/sigmoid --html compare.html
"""

from __future__ import annotations

import argparse
import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import matplotlib.style

from .. import files as disk
from ..errors import UsageError
from .report import HERE, axes_of, filled, svg
from .run import read_epochs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..loop.fit import Epoch

CURVES: Final[dict[str, Callable[[Epoch], float]]] = {
    "Validation error, %": lambda epoch: 100 * (1 - epoch.validation_accuracy),
    "Validation NLL, in nats": lambda epoch: epoch.validation_nll,
    "Training loss, warped digits": lambda epoch: epoch.loss,
    "Gradient norm, first layer over last": lambda epoch: epoch.gradient_norms[0] / epoch.gradient_norms[-1],
}


@dataclass(frozen=True)
class Ran:
    """A run's name, knobs and epochs, and the accuracy on the test digits where it has published a version."""

    name: str
    knobs: dict[str, Any]
    epochs: list[Epoch]
    test_accuracy: float | None


def main(words: list[str]) -> None:
    """Compare the runs that the command line names. Raises `UsageError`."""
    parser = argparse.ArgumentParser(prog="python -m training compare", description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    parser.add_argument("--html", type=Path, help="write the table and the runs' curves to this file")
    options = parser.parse_args(words)
    runs = [read(folder) for folder in options.runs]
    rows = lines(runs)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if options.html:
        disk.replace(options.html, page(runs).encode())


def read(folder: Path) -> Ran:
    """The facts that a run has left; raises `UsageError` where there are none."""
    try:
        knobs = json.loads((folder / "config.json").read_text())
        epochs = read_epochs(folder)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{folder} is no folder of a run of this program: {error}") from error
    if not epochs:
        raise UsageError(f"{folder}: this run has no epoch yet")
    return Ran(folder.name, knobs, epochs, _test_accuracy(folder))


def _test_accuracy(folder: Path) -> float | None:
    """From the card of the version that the run has published, as long as both are there."""
    try:
        version = Path(json.loads((folder / "published.json").read_text())["path"])
        return float(json.loads((version / "model.json").read_text())["metrics"]["test"]["accuracy"])
    except OSError:
        return None


def lines(runs: list[Ran]) -> list[list[str]]:
    """A line of headings, then one for each run: the knobs that differ, and what came of them."""
    first = runs[0].knobs
    knobs = [name for name in first if any(run.knobs.get(name) != first[name] for run in runs)]
    rows = [["run", *knobs, "epochs", "seconds", "validation NLL", "validation %", "test %"]]
    for run in runs:
        last = run.epochs[-1]
        facts = [f"{last.seconds:.1f}", f"{last.validation_nll:.4f}", f"{100 * last.validation_accuracy:.2f}"]
        tested = "" if run.test_accuracy is None else f"{100 * run.test_accuracy:.2f}"
        rows.append([run.name, *(_text(run.knobs.get(name)) for name in knobs), str(last.epoch), *facts, tested])
    return rows


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def page(runs: list[Ran]) -> str:
    """The table, and the curves of all runs in the same axes, as one HTML file."""
    cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in lines(runs)]
    with mpl.style.context(HERE / "report.mplstyle"):
        curves = "".join(_drawn(title, value, runs) for title, value in CURVES.items())
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    return filled("compare.html", table=table, curves=curves)


def _drawn(title: str, value: Callable[[Epoch], float], runs: list[Ran]) -> str:
    figure, axes = axes_of(title, "epoch", size=(5, 3.8))
    for run in runs:
        axes.plot([epoch.epoch for epoch in run.epochs], [value(epoch) for epoch in run.epochs], label=run.name)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=3)
    return svg(figure, title)
