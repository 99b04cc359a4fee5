"""The facts of one run on disk, and its progress on the screen.

In: a `Config`, then epochs. Out: config.json, metrics.jsonl and published.json in the run's folder; a progress bar on a
terminal, plain lines elsewhere. It knows nothing of what the numbers mean.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.config import Config
from training.errors import UsageError
from training.fit import Epoch


class Run:
    """The folder of one run, new or empty. Raises `UsageError` where it is neither."""

    def __init__(self, config: Config, console: Console) -> None:
        self.console = console
        self.folder = config.run_dir or _free_folder(Path("runs"))
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise UsageError(f"--run-dir {self.folder} holds a run already: name a new folder")
        self._write("config.json", config.knobs())

    def follow(self, epochs: Iterable[Epoch], total: int) -> list[Epoch]:
        """Note and show each epoch as it ends; returns them all."""
        with (self.folder / "metrics.jsonl").open("w") as lines:
            seen = []
            for epoch in self._shown(epochs, total):
                lines.write(json.dumps(dataclasses.asdict(epoch)) + "\n")
                lines.flush()
                seen.append(epoch)
        return seen

    def published(self, folder: Path) -> None:
        """Note which version came of the run."""
        self._write("published.json", {"name": folder.parent.name, "version": folder.name, "path": str(folder)})

    def _shown(self, epochs: Iterable[Epoch], total: int) -> Iterator[Epoch]:
        columns = TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"), TimeRemainingColumn()
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            bar = progress.add_task("training", total=total)
            for epoch in epochs:
                self.console.print(_line(epoch, total), highlight=False)
                progress.advance(bar)
                yield epoch

    def _write(self, name: str, facts: dict[str, Any]) -> None:
        (self.folder / name).write_text(json.dumps(facts, indent=2) + "\n")


def _line(epoch: Epoch, total: int) -> str:
    return (
        f"epoch {epoch.epoch:>3}/{total}  loss {epoch.loss:.4f}  validation: nll {epoch.validation_nll:.4f}, "
        f"accuracy {epoch.validation_accuracy:.2%}  {epoch.seconds:.1f} s"
    )


def _free_folder(parent: Path) -> Path:
    """A new folder named by the time; made here, so that two runs in one second get two."""
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    for suffix in ["", *(f"-{n}" for n in range(2, 1000))]:
        try:
            (parent / (name + suffix)).mkdir(parents=True)
        except FileExistsError:
            continue
        return parent / (name + suffix)
    raise UsageError(f"{parent} holds too many runs of this second")
