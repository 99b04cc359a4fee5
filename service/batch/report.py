"""The drift report of a batch: how far its pictures are from those that the model was measured on.

In: the counts of a batch, and the model's card with its reference. Out: one HTML page, which needs nothing else, and
its verdict in a sentence.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ..observability.drift import WINDOW
from ..observability.psi import fit_mixture, stability_index
from ..observability.reference import parse
from ..observability.signals import BINS, MERGED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..observability.psi import Shares
    from .counts import Counts

TEMPLATE: Final = Path(__file__).with_name("report.html")
LOOK, DRIFT = 0.1, 0.25  # of the index, by convention; the service's alert has the second too
TITLES: Final = {
    "digits": "Digits",
    "confidence": "Confidence",
    "warnings": "Warnings",
    "ink_ratio": "Ink",
    "polarity": "Polarity",
}
NOTES: Final = {
    "digits": "the same picture over and over, or pictures without their content.",
    "confidence": "another way of writing, blur, or pictures that show something else.",
    "warnings": "blank pictures (no ink), ones that lie on their side or show something else (unlike a digit), or ones "
    "that are cropped badly (several shapes, cut off).",
    "ink_ratio": "nearly blank pictures, or ones filled with ink. It is the share of a picture that is ink.",
    "polarity": "another kind of paper or scanner. Ink is dark on light paper, and light on a blackboard and in MNIST.",
}


class Signal(NamedTuple):
    """One signal of a batch, beside its reference."""

    name: str
    bins: list[str]
    observed: list[float]  # shares
    expected: list[float] | None  # None: the card has no reference
    psi: float | None  # None: no reference, or too few pictures


class Drift(NamedTuple):
    """All signals, and what they say together."""

    signals: list[Signal]
    verdict: str


def measure(counts: Counts, card: Mapping[str, Any]) -> Drift:
    """Return the drift of a batch against the reference on a card."""
    reference = parse(card.get("reference"))
    signals = [_signal(name, counts, reference.shares.get(name)) for name in TITLES]
    return Drift(signals, _verdict(signals, counts))


def _signal(name: str, counts: Counts, sources: Shares | None) -> Signal:
    found = counts.parted(name)
    totals = np.maximum(found.sum(-1, keepdims=True), 1)
    observed, labels = _shown(name, found / totals), _labels(name)
    if sources is None or not found.sum():
        return Signal(name, labels, observed, None, None)
    expected = fit_mixture(found, sources)
    index = stability_index(found, expected) if counts.answered >= WINDOW and found.sum(-1).all() else None
    return Signal(name, labels, observed, _shown(name, expected / expected.sum(-1, keepdims=True)), index)


def _shown(name: str, shares: Shares) -> list[float]:
    """Return the shares that the page shows: of warnings, those of the pictures that have each."""
    return (shares[:, 0] if name == "warnings" else shares[0]).tolist()  # type: ignore[no-any-return]


def _labels(name: str) -> list[str]:
    bins = BINS[name]
    if name not in MERGED:
        return [str(each).replace("_", " ") for each in bins]
    starts = [*MERGED[name], len(bins)]
    uppers = [float(bins[start - 1]) for start in starts[1:]]
    return [f"{low:g} to {high:g}" for low, high in zip([0.0, *uppers], uppers, strict=False)]


def _verdict(signals: Sequence[Signal], counts: Counts) -> str:
    indices = {signal.name: signal.psi for signal in signals if signal.psi is not None}
    if not indices:
        few = f"fewer than {WINDOW} pictures without an error say little, and this batch has {counts.answered:,}"
        none = "the model's card has no reference"
        return f"No verdict: {few if counts.answered < WINDOW else none}."
    for limit, words in ((DRIFT, "The pictures have drifted"), (LOOK, "The pictures differ somewhat")):
        names = [TITLES[name].lower() for name, index in indices.items() if index > limit]
        if names:
            return f"{words} from those that the model was measured on, in: {', '.join(names)}."
    return "The pictures are like those that the model was measured on."


def render(drift: Drift, counts: Counts, facts: Mapping[str, str]) -> str:
    """Return the page; `facts` say what made the batch: the metadata of its parts."""
    settings = json.loads(facts["settings"])
    reasons = ", ".join(f"{count:,} {_words(reason)}" for reason, count in sorted(counts.reasons.items()))
    table = {
        "Pictures": f"{counts.rows:,}",
        "With a digit": f"{counts.digits:,}",
        "Without ink": f"{counts.no_ink:,}",
        "With a warning": f"{counts.warned:,}",
        "Errors": f"{counts.errors:,}" + (f" ({reasons})" if reasons else ""),
        **{_words(key).capitalize(): value for key, value in facts.items()},
        "Settings": ", ".join(f"{_words(key)} {value}" for key, value in settings.items() if value is not None),
    }
    return Template(TEMPLATE.read_text()).substitute(
        verdict=html.escape(drift.verdict),
        facts="".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in table.items()),
        signals="".join(map(_render_signal, drift.signals)),
    )


def _words(key: str) -> str:
    return key.replace("_", " ")


def _render_signal(signal: Signal) -> str:
    expected = signal.expected or [None] * len(signal.bins)  # type: ignore[list-item]
    most = max([*signal.observed, *(signal.expected or []), 1e-9])
    rows = "".join(
        f'<tr><th scope="row">{html.escape(label)}</th><td>{_bar(share, most)}</td><td>{_bar(usual, most)}</td></tr>'
        for label, share, usual in zip(signal.bins, signal.observed, expected, strict=True)
    )
    return (
        f'<section aria-labelledby="{signal.name}"><h2 id="{signal.name}">{TITLES[signal.name]}</h2>'
        f"<p>{_index(signal)} What may be behind a drift: {NOTES[signal.name]}</p>"
        '<table><thead><tr><td></td><th scope="col">this batch</th><th scope="col">reference</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></section>"
    )


def _index(signal: Signal) -> str:
    if signal.psi is None:
        return '<strong class="none">PSI unknown.</strong>'
    kind = "drift" if signal.psi > DRIFT else "look" if signal.psi > LOOK else "good"
    words = {"drift": "drifted", "look": "differs somewhat", "good": "as expected"}[kind]
    return f'<strong class="{kind}">PSI {signal.psi:.3f}: {words}.</strong>'


def _bar(share: float | None, most: float) -> str:
    if share is None:
        return "unknown"
    bar = f'<span class="bar" style="--share:{share / most:.3f}" aria-hidden="true"></span>'
    return f'<span class="share">{share:.1%}</span>{bar}'
