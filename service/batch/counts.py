"""Count what the parts of a batch hold: digits, errors, and the signals of drift.

In: parts. Out: `Counts`, with the bins that the service's metrics have. Rows are read some at a time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from ..observability.reference import parted
from ..observability.signals import BINS, CONFIDENCES, DIGITS, INK_RATIOS, NO_INK, POLARITIES, WARNINGS
from .parts import read_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from ..observability.psi import Counts as Bins

COLUMNS = ("digit", "confidence", "warnings", "ink_ratio", "polarity", "reason")


@dataclass
class Counts:
    """What is in a batch."""

    rows: int = 0
    warned: int = 0  # rows with a warning
    reasons: Counter[str] = field(default_factory=Counter)  # of errors
    by_bin: dict[str, list[int]] = field(
        default_factory=lambda: {signal: [0] * len(bins) for signal, bins in BINS.items()}
    )

    @property
    def errors(self) -> int:
        """Rows with an error."""
        return self.reasons.total()

    @property
    def answered(self) -> int:
        """Rows without an error."""
        return self.rows - self.errors

    @property
    def digits(self) -> int:
        """Rows with a digit."""
        return sum(self.by_bin["digits"])

    @property
    def no_ink(self) -> int:
        """Rows of pictures without ink."""
        return self.by_bin["warnings"][WARNINGS.index(NO_INK)]

    def parted(self, signal: str) -> Bins:
        """Return a signal's counts as its drift is measured, int[parts, bins]."""
        return parted(signal, self.by_bin[signal], self.answered)


def count(paths: Sequence[Path]) -> Counts:
    """Return what is in the parts."""
    counts = Counts()
    for rows in read_tables(paths, COLUMNS):
        counts.rows += len(rows)
        counts.reasons.update(_texts(rows, "reason"))
        counts.warned += pc.sum(pc.greater(pc.list_value_length(rows.column("warnings")), 0)).as_py() or 0
        found = {
            # A picture without ink has no digit and no confidence, as in the service's metrics.
            "confidence": _histogram(rows.filter(pc.is_valid(rows.column("digit"))), "confidence", CONFIDENCES),
            "ink_ratio": _histogram(rows, "ink_ratio", INK_RATIOS),
            "digits": _by_name(map(str, rows.column("digit").drop_null().to_pylist()), DIGITS),
            "polarity": _by_name(_texts(rows, "polarity"), POLARITIES),
            "warnings": _by_name(pc.list_flatten(rows.column("warnings")).to_pylist(), WARNINGS),
        }
        for signal, bins in found.items():
            counts.by_bin[signal] = [sum(pair) for pair in zip(counts.by_bin[signal], bins, strict=True)]
    return counts


def _texts(rows: pa.Table, column: str) -> Iterator[str]:
    return iter(rows.column(column).drop_null().to_pylist())


def _by_name(found: Iterator[str] | Sequence[str], names: Sequence[str]) -> list[int]:
    counts = Counter(found)
    return [counts[name] for name in names]


def _histogram(rows: pa.Table, column: str, bounds: Sequence[float]) -> list[int]:
    """Return counts up to each bound, as Prometheus has them; those beyond the last are in the last bin."""
    values = rows.column(column).drop_null().to_numpy().astype(np.float64)
    bins = np.minimum(np.searchsorted(bounds, values), len(bounds) - 1)
    return np.bincount(bins, minlength=len(bounds)).tolist()  # type: ignore[no-any-return]
