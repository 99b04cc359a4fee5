"""How far a batch is: a line that is written over and over on a terminal, and one now and then elsewhere.

In: rows as they are predicted. Out: lines on stderr.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

LINE_SECONDS, TERMINAL_SECONDS = 10.0, 0.5  # between two lines


class Progress:
    """The pictures of this run, beside those that were done before."""

    def __init__(self, before: int) -> None:
        self.pictures = self.errors = 0
        self._before = before
        self._terminal = sys.stderr.isatty()
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
        before = f" after {self._before:,} of earlier runs" if self._before else ""
        line = f"batch: {self.pictures:,} pictures{before}, {self.errors:,} errors, {self.rate:,.0f} pictures/s"
        print(
            f"\r{line}\033[K" if self._terminal else line,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def clear(self) -> None:
        """Remove the line from a terminal."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
