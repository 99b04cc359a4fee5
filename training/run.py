"""The facts of one run on disk, and its progress on the screen.

In: a `Config`, then epochs. Out: config.json, metrics.jsonl and published.json in the run's folder; a progress bar on a
terminal, plain lines elsewhere. It knows nothing of how the numbers come about.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from training.config import Config
    from training.fit import Epoch


class Run:
    """The folder of one run, new or empty, and the screen. Raises `UsageError` where the folder is neither."""

    def __init__(self, config: Config, console: Console) -> None:
        self.folder = _fresh(config.run_dir) if config.run_dir else _fresh_by_time(Path("runs"))
        self._console = console
        self._write("config.json", config.knobs())

    def say(self, line: str, *warnings: str) -> None:
        """Show a line, and warnings so that nobody misses them."""
        self._console.print(line, highlight=False, soft_wrap=True)
        for warning in warnings:
            self._console.print(f"WARNING: {warning}", style="bold red", highlight=False, soft_wrap=True)

    def follow(self, epochs: Iterable[Epoch], total: int) -> list[Epoch]:
        """Note and show each epoch as it ends; returns them all."""
        seen = []
        with (self.folder / "metrics.jsonl").open("w") as lines:
            for epoch in self._shown(epochs, total):
                seen.append(epoch)
                lines.write(json.dumps(dataclasses.asdict(epoch)) + "\n")
                lines.flush()
        return seen

    def published(self, version: Path) -> None:
        """Note which version came of the run."""
        facts = {"name": version.parent.name, "version": int(version.name), "path": str(version)}
        self._write("published.json", facts)

    def _shown(self, epochs: Iterable[Epoch], total: int) -> Iterator[Epoch]:
        columns = TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"), TimeRemainingColumn()
        hidden = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=hidden) as progress:
            bar = progress.add_task("training", total=total)
            for epoch in epochs:
                self.say(_line(epoch, total))
                progress.advance(bar)
                yield epoch

    def _write(self, name: str, facts: dict[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(facts, indent=2) + "\n")


def _line(epoch: Epoch, total: int) -> str:
    return (
        f"epoch {epoch.epoch:>3}/{total}  loss {epoch.loss:.4f}  "
        f"validation: nll {epoch.validation_nll:.4f}, accuracy {epoch.validation_accuracy:.2%}  {epoch.seconds:5.1f} s"
    )


def _fresh(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--run-dir {folder} cannot be made: {error.strerror}") from error
    if any(folder.iterdir()):
        raise UsageError(f"--run-dir {folder} is not empty: each run needs a folder of its own")
    return folder


def _fresh_by_time(parent: Path) -> Path:
    """A folder named by the second, with a number after it where two runs start in one."""
    stem = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    number = 1
    while True:
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder
