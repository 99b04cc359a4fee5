"""How far a batch is: a bar on a terminal, and a line now and then elsewhere.

In: rows as they are predicted, and how many there are in all, where that is known. Out: lines on stderr.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from ..observability import logs

if TYPE_CHECKING:
    import pyarrow as pa

LINE_SECONDS, TERMINAL_SECONDS = 10.0, 0.5  # between two lines
CELLS = 20  # of the bar


class Progress:
    """The pictures of this run, beside those that were done before."""

    def __init__(self, before: int) -> None:
        self.pictures = self.errors = 0
        self.total: int | None = None  # of all runs; None: not known
        self._before = before
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._began = self._shown = time.monotonic()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Pictures a second."""
        return self.pictures / max(self.seconds, 1e-9)

    def add(self, rows: pa.Table) -> None:
        """Count rows."""
        self.pictures += len(rows)
        self.errors += len(rows) - rows.column("error").null_count

    def show(self) -> None:
        """Show how far it is, from time to time."""
        if time.monotonic() < self._shown + (TERMINAL_SECONDS if self._terminal else LINE_SECONDS):
            return
        self._shown = time.monotonic()
        if self._terminal:
            print(f"\r{self._bar()}{self._line()}\033[K", end="", file=sys.stderr, flush=True)
        else:
            logs.print_for_people(self._line(), sys.stderr)

    def _bar(self) -> str:
        """Return a bar and the time left; empty where the total is not known."""
        done = self._before + self.pictures
        if not (self.total and self.pictures):
            return ""
        share = min(1.0, done / self.total)
        full = round(share * CELLS)
        left = max(0, self.total - done) / self.rate
        return f"[{'#' * full}{'-' * (CELLS - full)}] {share:4.0%}, {left:,.0f} s left; "

    def _line(self) -> str:
        before = f" after {self._before:,} of earlier runs" if self._before else ""
        of = f" of {self.total:,}" if self.total is not None else ""
        return f"batch: {self.pictures:,}{of} pictures{before}, {self.errors:,} errors, {self.rate:,.0f} pictures/s"

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
