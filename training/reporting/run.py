"""The facts of one run on disk, and its progress on the screen.

In: a `Config`, then epochs, a report. Out: config.json, environment.json, metrics.jsonl, publishing.json, report.html
and published.json in the run's folder, each whole at any moment; a progress bar on a terminal, plain lines elsewhere.
It knows nothing of how the numbers come about.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .. import files as disk
from ..errors import Busy, DataError, UsageError
from ..export.card import surroundings
from ..loop import distributed as ranks
from ..loop.fit import Epoch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console

    from ..config import Config

CONFIG: Final = "config.json"
PUBLISHED: Final = "published.json"
RUNS: Final = Path("runs")
FREE_BYTES: Final = 256 * 2**20  # many times what a run of `good` leaves: 13 MB with its checkpoints


class Run:
    """The folder of one run, and the screen.

    The folder is new or empty, or that of a run to be resumed: of --resume, or of --run-dir where it holds the same run
    cut off. Raises `UsageError` where it is none of these, or where the run has come to its end; `Busy` where another
    process trains in it; `DataError` where the disk of the run or of its version does not take them.
    """

    def __init__(self, config: Config, console: Console) -> None:
        self._console = console
        if config.resume and (config.resume / PUBLISHED).exists():
            raise UsageError(f"--resume {config.resume}: this run has come to its end; {PUBLISHED} names its version")
        going_on = config.resume or _cut_off(config)
        self.folder = going_on or (_fresh(config.run_dir) if config.run_dir else _fresh_by_time(RUNS))
        if not disk.hold(self.folder):
            raise Busy(f"{self.folder}: another process trains in this folder")
        for folder in (self.folder, config.models_dir / config.name):
            _require_room(folder)
        if going_on:
            self.say(f"going on with {self.folder}")
        else:
            self._write("environment.json", surroundings())
            self._write(CONFIG, config.knobs())  # last: with it, the folder is that of a run

    def say(self, line: str, *warnings: str) -> None:
        """Show a line, and warnings so that nobody misses them."""
        self._console.print(line, highlight=False, soft_wrap=True)
        for warning in warnings:
            self._console.print(f"WARNING: {warning}", style="bold red", highlight=False, soft_wrap=True)

    def follow(self, epochs: Iterable[Epoch], total: int) -> list[Epoch]:
        """Note and show each epoch as it ends; returns them all, those before the run was cut off too."""
        path = self.folder / "metrics.jsonl"
        seen = read_epochs(self.folder)
        for epoch in self._shown(epochs, total):
            seen = [*seen[: epoch.epoch - 1], epoch]
            disk.replace(path, b"".join(json.dumps(dataclasses.asdict(each)).encode() + b"\n" for each in seen))
        return seen

    def identifier(self) -> str:
        """Of this run, noted before it publishes: so it knows its own version, wherever it was cut off."""
        path = self.folder / "publishing.json"
        if not path.exists():
            self._write(path.name, {"run": uuid4().hex})
        return str(json.loads(path.read_text())["run"])

    def published(self, version: Path) -> None:
        """Note which version came of the run."""
        facts = {"name": version.parent.name, "version": int(version.name), "path": str(version)}
        self._write(PUBLISHED, facts)

    def report(self, page: str) -> None:
        """Keep the report of the run."""
        disk.replace(self.folder / "report.html", page.encode())

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
        disk.replace(self.folder / name, _json(facts))


class Follower:
    """What a run is to the processes beside the first: no folder, no screen."""

    folder: Final = None

    def say(self, *lines: str) -> None:
        """The first process has said it."""

    def follow(self, epochs: Iterable[Epoch], _: int) -> list[Epoch]:
        """Take part in each epoch."""
        return list(epochs)


def read_epochs(folder: Path) -> list[Epoch]:
    """The epochs that the run in a folder has noted."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [Epoch(**json.loads(line)) for line in lines]


def _line(epoch: Epoch, total: int) -> str:
    return (
        f"epoch {epoch.epoch:>3}/{total}  loss {epoch.loss:.4f}  "
        f"validation: nll {epoch.validation_nll:.4f}, accuracy {epoch.validation_accuracy:.2%}  {epoch.seconds:5.1f} s"
    )


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, indent=2).encode() + b"\n"


def _cut_off(config: Config) -> Path | None:
    """The folder of a run of the same knobs that has not come to its end: --run-dir, or the newest after a restart."""
    named = [config.run_dir] if config.run_dir else []
    folders = named or (sorted(RUNS.glob("*"), reverse=True) if ranks.is_restarted() else [])
    knobs = _json(config.knobs())
    for folder in folders:
        path = folder / CONFIG
        if path.exists() and path.read_bytes() == knobs and not (folder / PUBLISHED).exists():
            return folder
    return None


def _require_room(folder: Path) -> None:
    """Fail now, and not after the training, where a folder cannot be made or written, or its disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise DataError(f"{folder} cannot be written")
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise DataError(f"{folder}: {free:,} bytes are free on the disk, and a run needs {FREE_BYTES:,}")


def _fresh(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--run-dir {folder} cannot be made: {error.strerror}") from error
    if any(folder.glob("[!.]*")):  # what begins with a dot is unfinished
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
