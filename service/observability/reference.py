"""The reference of a model version: the counts of each signal that its training measured, as its card holds them.

In: the value of the card's key `reference`, which may be anything: a card may come from elsewhere. Out: each signal's
shares by source, and what is wrong with the others. It knows no metric.

    {"bins": {signal: its bins, as `signals.BINS`}, "sources": {name: {"pictures": n, signal: counts by bin}}}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import psi
from .signals import BINS, MERGED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .psi import Counts, Shares

MAX_SOURCES = 32  # the mixture is fitted at each scrape
MAX_COUNT = 10**9


class Reference(NamedTuple):
    """The usable signals of a card."""

    shares: Mapping[str, Shares]  # float[sources, parts, bins] by signal
    problems: Sequence[str]  # a sentence for each signal that cannot be used


def parse(value: Any) -> Reference:
    """Return the reference of a card's value; no value has no shares and no problem."""
    found: dict[str, Shares] = {}
    problems = []
    for signal in BINS if value is not None else ():
        try:
            found[signal] = psi.shares(np.array([_counts(source, signal) for source in _sources(value, signal)]))
        except _Unusable as error:
            problems.append(f"{signal}: {error}")
    return Reference(found, problems)


def parted(signal: str, counts: Sequence[int], pictures: int) -> Counts:
    """Return counts by bin as int[parts, bins], with some bins `MERGED`.

    Warnings have a part for each, of pictures with it and without it, because a picture may have several.
    """
    if signal == "warnings":
        return np.array([(count, max(0, pictures - count)) for count in counts])
    return np.add.reduceat(counts, MERGED.get(signal, range(len(counts))))[np.newaxis]


class _Unusable(Exception):
    """Why a signal of a card cannot be used."""


def _sources(value: Any, signal: str) -> Sequence[Any]:
    bins, sources = _member(value, "bins"), _member(value, "sources")
    if _member(bins, signal) != list(BINS[signal]):
        raise _Unusable("its bins are not those of this service")
    if not (isinstance(sources, dict) and 0 < len(sources) <= MAX_SOURCES):
        raise _Unusable(f"expected 1 to {MAX_SOURCES} sources")
    return list(sources.values())


def _counts(source: Any, signal: str) -> Counts:
    counts, pictures = _member(source, signal), _member(source, "pictures")
    if not (isinstance(counts, list) and len(counts) == len(BINS[signal]) and all(map(_is_count, [*counts, pictures]))):
        raise _Unusable(f"expected {len(BINS[signal])} counts of each source, and its number of pictures")
    if max(counts) > pictures or not pictures or not (signal == "warnings" or any(counts)):
        raise _Unusable("expected counts of some pictures, and no more than there are")
    return parted(signal, counts, pictures)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None
