"""Measure drift: how far the last answered pictures are from those on which the served version was measured.

In: the metrics over all workers, at each scrape, and the reference of the version that serves. Out: the population
stability index of each signal, NaN where there is none. No request is counted for it: the last pictures are the
difference of two sums, now and at an earlier scrape.

Any worker answers a scrape, so several workers keep the earlier sums in a file beside their metrics. Each replaces the
file whole. Where two do so at the same time, one sum is lost, and a window is a little longer.
"""

from __future__ import annotations

import contextlib
import logging
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from . import psi, shared_metrics
from .reference import parse, parted
from .signals import CONFIDENCES, DIGITS, INK_RATIOS, NO_INK, POLARITIES, WARNINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from prometheus_client import Metric

    from .psi import Shares

    Sum = list[list[int]]  # [parts][bins], since the service's start

METRIC = "mnist_drift"
WINDOW = 400  # pictures at least: where scrapes are frequent, 500 of another kind fill it
STEP = 20  # pictures at least between two sums that are kept
FILE = "drift"
# The samples that are counted, and the label that names their bin.
SAMPLES = {
    "mnist_prediction_confidence_bucket": "le",
    "mnist_input_ink_ratio_bucket": "le",
    "mnist_predictions_total": "digit",
    "mnist_input_polarity_total": "polarity",
    "mnist_warnings_total": "warning",
}

log = logging.getLogger("service")


class _Served(NamedTuple):
    """The version that serves."""

    version: str
    shares: Mapping[str, Shares]  # of its reference's sources, by signal


class _History(NamedTuple):
    """Sums of the same version, oldest first, by signal."""

    version: str
    sums: dict[str, list[Sum]]


class Drift:
    """The drift of one service, in each of its workers."""

    def __init__(self) -> None:
        self._served = _Served("", {})
        self._history: _History | None = None  # of a worker that is alone

    def follow(self, version: str, sha256: str, reference: Any) -> None:
        """Measure against this version's reference from now on; `reference` is the value on its card, or None."""
        shares, problems = parse(reference)
        self._served = _Served(f"{version} {sha256}", shares)
        if problems:
            log.warning("the card of version %s has no reference for the drift of %s", version, "; ".join(problems))

    def measure(self, metrics: Iterable[Metric], folder: Path | None) -> dict[str, float]:
        """Return each signal's index; several workers share `folder`."""
        served, now = self._served, count(metrics)
        history = self._history if folder is None else _read(folder)
        if history is None:  # the first scrape since the start
            history = _History(served.version, {signal: [_zero(total)] for signal, total in now.items()})
        if history.version != served.version:
            history = _History(served.version, {signal: [] for signal in now})
        windows = {signal: advance(history.sums[signal], total) for signal, total in now.items()}
        if folder is None:
            self._history = history
        else:
            _write(folder, history)
        return {signal: _index(window, served.shares.get(signal)) for signal, window in windows.items()}


def count(metrics: Iterable[Metric]) -> dict[str, Sum]:
    """Return what was counted of each signal since the service's start."""
    found: dict[str, dict[str, int]] = {name: {} for name in SAMPLES}
    for metric in metrics:
        for sample in metric.samples:
            if (label := SAMPLES.get(sample.name)) is not None:
                found[sample.name][sample.labels[label]] = int(sample.value)
    confidences, ink_ratios, digits, polarities, warnings = found.values()
    counts = {
        "confidence": _between(confidences, CONFIDENCES),
        "ink_ratio": _between(ink_ratios, INK_RATIOS),
        "digits": [digits.get(name, 0) for name in DIGITS],
        "polarity": [polarities.get(name, 0) for name in POLARITIES],
        "warnings": [warnings.get(name, 0) for name in WARNINGS],
    }
    pictures = sum(counts["confidence"]) + warnings.get(NO_INK, 0)  # one without ink has no confidence
    return {signal: parted(signal, bins, pictures).tolist() for signal, bins in counts.items()}


def advance(sums: list[Sum], now: Sum) -> NDArray[np.int64] | None:
    """Add the sum of now to earlier ones, and return what the window counts, int[parts, bins]; None if too little.

    The window begins at the newest sum that is at least `WINDOW` pictures ago. Sums older than that are removed.
    """
    pictures = _pictures(now)
    old = [total for total in sums if _pictures(total) <= pictures - WINDOW]
    # Another worker may have collected later, and written sooner.
    recent = [total for total in sums if pictures - WINDOW < _pictures(total) <= pictures]
    sums[:] = old[-1:] + recent
    if not sums or pictures - _pictures(sums[-1]) >= STEP:
        sums.append(now)
    return np.maximum(np.array(now) - old[-1], 0) if old else None


def _between(cumulative: Mapping[str, int], bounds: Sequence[float]) -> list[int]:
    """Return a histogram's counts between its bounds; those beyond the last are in the last bin."""
    ordered = [total for _, total in sorted((float(bound), total) for bound, total in cumulative.items())]
    counts = [total - below for below, total in pairwise([0, *ordered])]
    return [*counts[: len(bounds) - 1], sum(counts[len(bounds) - 1 :])] if counts else [0] * len(bounds)


def _zero(total: Sum) -> Sum:
    return [[0] * len(part) for part in total]


def _pictures(total: Sum) -> int:
    return sum(total[0])


def _index(window: NDArray[np.int64] | None, sources: Shares | None) -> float:
    if window is None or sources is None:
        return math.nan
    return psi.stability_index(window, psi.fit_mixture(window, sources))


def _read(folder: Path) -> _History | None:
    try:
        return _History(*orjson.loads((folder / FILE).read_bytes()))
    except FileNotFoundError:
        return None


def _write(folder: Path, history: _History) -> None:
    """Replace the file, unless the disk is full."""
    with contextlib.suppress(OSError):
        shared_metrics.replace(folder, FILE, orjson.dumps([history.version, history.sums]))
