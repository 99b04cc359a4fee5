"""The screen of a run: lines, and on a terminal a progress bar and the stage at work.

In: lines, steps of the loop, names of stages. Out: text on a `Console`. Where that is no terminal there are lines only.
"""

from __future__ import annotations

import errno
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.status import Status

    from ..config import Config
    from ..loop.fit import Step

REFRESH_SECONDS: Final = 0.2  # the bar is drawn, and the loss read from the device, no more often
STAGE_FRAMES: Final = 4  # a second: each takes time from the stage, and one stage measures speed
BAR_WIDTH: Final = 10  # with the numbers beside it, the line fits 80 columns


class Output(Console):
    """A console whose closed pipe, as of `| head -1`, is an error as any other: rich would end without a word."""

    def on_broken_pipe(self) -> None:
        """Print nothing from now on; raises `BrokenPipeError`."""
        try:
            super().on_broken_pipe()
        except SystemExit:
            raise BrokenPipeError(errno.EPIPE, "nobody reads what the run prints any more") from None


class Screen:
    """What a run prints."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: _Bar | None = None
        self._stage: Status | None = None

    def say(self, line: str, *warnings: str) -> None:
        """Print a line, and warnings in red."""
        self._print(line)
        for warning in warnings:
            self._print(f"WARNING: {warning}", "bold red")

    def _print(self, line: str, style: str = "") -> None:
        # A `Text` has no markup: a folder may be called [x] or :x:, and [/x] would end the run.
        self._console.print(Text(line, style), soft_wrap=True)

    @contextmanager
    def bar(self, config: Config) -> Iterator[None]:
        """Show the steps of the loop as a bar, on a terminal."""
        if not self._console.is_terminal:
            yield
            return
        columns = TextColumn("{task.description}"), BarColumn(BAR_WIDTH), TextColumn("{task.fields[facts]}")
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as progress:
            self._bar = _Bar(progress, config)
            yield
        self._bar = None

    def step(self, step: Step) -> None:
        """Move the bar, if there is one and its time has come."""
        if self._bar:
            self._bar.step(step)

    def stage(self, name: str) -> None:
        """Show the name of what is at work, on a terminal, until the next one; an empty name ends it."""
        if self._stage:
            self._stage.stop()
            self._stage = None
        if name and self._console.is_terminal:
            self._stage = self._console.status(f"{name} …", refresh_per_second=STAGE_FRAMES)
            self._stage.start()


class _Bar:
    """The bar of all steps: the step within the epoch, the loss of its batch, digits a second, the time left."""

    def __init__(self, progress: Progress, config: Config) -> None:
        self._progress, self._config = progress, config
        self._task = progress.add_task("", total=None, visible=False, facts="")
        self._started: tuple[int, float] | None = None  # steps before the first that is shown, and its time
        self._drawn = 0.0

    def step(self, step: Step) -> None:
        now = time.monotonic()
        if now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        done, total = (step.epoch - 1) * step.steps + step.step, self._config.epochs * step.steps
        self._started = before, started = self._started or (done, now)
        speed = (done - before) / (now - started) if done > before else 0.0  # in steps a second
        self._progress.update(
            self._task,
            total=total,
            completed=done,
            description=f"epoch {step.epoch}/{self._config.epochs}",
            facts=_facts(step, speed * self._config.batch_size, (total - done) / speed if speed else None),
            visible=True,
            refresh=True,
        )


def _facts(step: Step, speed: float, left: float | None) -> str:
    """Return the numbers beside the bar: `speed` in digits a second, `left` in seconds, None before it is known."""
    facts = f"step {step.step}/{step.steps}  loss {step.loss.item():.3f}"
    return facts if left is None else f"{facts}  {speed:,.0f} digits/s  {format_seconds(left)} left"


def format_seconds(seconds: float) -> str:
    """Return a duration as people write it: 8 s, 2:05 min, 1:02 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
