"""The folder of one run, with its facts; they go to the screen too.

In: a `Config`, then epochs, a report. Out: config.json, environment.json, metrics.jsonl, teacher.jsonl where there is a
teacher, publishing.json, report.html and published.json in the run's folder, each complete at any moment.
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

from .. import files
from ..errors import Busy, DataError, UsageError
from ..export.card import describe_environment
from ..loop import distributed
from ..loop.fit import Epoch
from .screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from ..config import Config
    from ..loop.fit import Step

CONFIG: Final = "config.json"
METRICS: Final = "metrics.jsonl"
PUBLISHED: Final = "published.json"
RUNS: Final = Path("runs")
FREE_BYTES: Final = 256 * 2**20  # many times what a run of `good` leaves: 13 MB with its checkpoints


class Run:
    """The folder of one run, and the screen.

    The folder is new or empty, or that of an interrupted run: of --resume, or of --run-dir where it holds the same run.
    Raises `UsageError` where it is none of these, or where the run has ended; `Busy` where another process trains in
    it; `DataError` where the disk of the run or of its version has no room.
    """

    def __init__(self, config: Config, console: Console) -> None:
        self._config, self._screen = config, Screen(console)
        if config.resume and (config.resume / PUBLISHED).exists():
            raise UsageError(f"--resume {config.resume}: this run has ended; {PUBLISHED} names its version")
        resumed = config.resume or _find_interrupted(config)
        self.folder = resumed or (_make(config.run_dir) if config.run_dir else _make_by_time(RUNS))
        if not files.lock(self.folder):
            raise Busy(f"{self.folder}: another process trains in this folder")
        for folder in (self.folder, config.models_dir / config.name):
            _require_room(folder)
        if resumed:
            self.say(f"resuming {self.folder}")
        else:
            self._write("environment.json", describe_environment())
            self._write(CONFIG, config.hyperparameters())  # last: it marks the folder as a run's

    def say(self, line: str, *warnings: str) -> None:
        """Print a line, and warnings in red."""
        self._screen.say(line, *warnings)

    def on_step(self, step: Step) -> None:
        """Show a step of the loop."""
        self._screen.step(step)

    def stage(self, name: str) -> None:
        """Show what the run does now, after the loop; an empty name ends it."""
        self._screen.stage(name)

    def follow(self, epochs: Iterable[Epoch]) -> list[Epoch]:
        """Write and print each epoch as it ends; returns all, with those before an interruption."""
        return self._follow(epochs, self._config, METRICS)

    def follow_teacher(self, epochs: Iterable[Epoch], config: Config) -> list[Epoch]:
        """Write and print the epochs of the teacher, which has a `config` of its own."""
        return self._follow(epochs, config, "teacher.jsonl", "teacher: ")

    def _follow(self, epochs: Iterable[Epoch], config: Config, name: str, who: str = "") -> list[Epoch]:
        done = read_epochs(self.folder, name)
        with self._screen.bar(config):
            for epoch in epochs:
                self.say(who + _line(epoch, config.epochs))
                done = [*done[: epoch.epoch - 1], epoch]
                lines = (json.dumps(dataclasses.asdict(each)).encode() + b"\n" for each in done)
                files.replace(self.folder / name, b"".join(lines))
        return done

    def identify(self) -> str:
        """Return the run's identifier, written before it publishes, so that it finds its version when it is resumed."""
        path = self.folder / "publishing.json"
        if not path.exists():
            self._write(path.name, {"run": uuid4().hex})
        return str(json.loads(path.read_text())["run"])

    def save_published(self, version: Path) -> None:
        """Write which version the run has published."""
        facts = {"name": version.parent.name, "version": int(version.name), "path": str(version)}
        self._write(PUBLISHED, facts)

    def save_report(self, page: str) -> None:
        """Write the report of the run, and print its path."""
        path = self.folder / "report.html"
        files.replace(path, page.encode())
        self.say(f"report: {path}")

    def _write(self, name: str, facts: dict[str, Any]) -> None:
        files.replace(self.folder / name, _json(facts))


class NonMainProcess:
    """A run in a process that is not the main one: without a folder and a screen."""

    folder: Final = None

    def say(self, *lines: str) -> None:
        """Print nothing: the main process does."""

    def on_step(self, step: Step) -> None:
        """Show nothing."""

    def follow(self, epochs: Iterable[Epoch]) -> list[Epoch]:
        """Take part in each epoch."""
        return list(epochs)

    def follow_teacher(self, epochs: Iterable[Epoch], _: Config) -> list[Epoch]:
        """Take part in each epoch of the teacher."""
        return list(epochs)


def read_epochs(folder: Path, name: str = METRICS) -> list[Epoch]:
    """Return the epochs that the run in a folder has written."""
    path = folder / name
    lines = path.read_text().splitlines() if path.exists() else []
    return [Epoch(**json.loads(line)) for line in lines]


def _line(epoch: Epoch, total: int) -> str:
    return (
        f"epoch {epoch.epoch:>3}/{total}  loss {epoch.loss:.4f}  "
        f"validation: nll {epoch.validation_nll:.4f}, accuracy {epoch.validation_accuracy:.2%}  {epoch.seconds:5.1f} s"
    )


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, indent=2).encode() + b"\n"


def _find_interrupted(config: Config) -> Path | None:
    """Return the folder of an unfinished run of the same hyperparameters: --run-dir, or the newest after a restart."""
    named = [config.run_dir] if config.run_dir else []
    folders = named or (sorted(RUNS.glob("*"), reverse=True) if distributed.is_restarted() else [])
    hyperparameters = _json(config.hyperparameters())
    for folder in folders:
        path = folder / CONFIG
        if path.exists() and path.read_bytes() == hyperparameters and not (folder / PUBLISHED).exists():
            return folder
    return None


def _require_room(folder: Path) -> None:
    """Raise now, and not after the training, where a folder cannot be made or written, or its disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise DataError(f"{folder} cannot be written")
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise DataError(f"{folder}: {free:,} bytes are free on the disk, and a run needs {FREE_BYTES:,}")


def _make(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--run-dir {folder} cannot be made: {error.strerror}") from error
    if any(folder.glob("[!.]*")):  # a name that starts with a dot is of an unfinished file
        raise UsageError(f"--run-dir {folder} is not empty: each run needs a folder of its own")
    return folder


def _make_by_time(parent: Path) -> Path:
    """Make a folder named by the second, with a number after it where several runs start in one second."""
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
