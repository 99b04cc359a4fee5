"""The card of a model version in words: the README.md of its folder, which the Hugging Face Hub shows as model card.

In: a card as `card` and `publish` make it. Out: Markdown after a block of metadata in YAML, as the Hub specifies it
(huggingface/hub-docs, modelcard.md). What it says beyond the card is in model_readme.md here. It knows nothing of how a
version is made. `python -m training.readme VERSION…` writes that of versions which are there, from their model.json.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

from ..network.deslant import UPRIGHT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TEMPLATE: Final = Path(__file__).with_name("model_readme.md")
LICENSE: Final = "unknown"  # the Hub's word where the project has no licence
NAMES: Final = {
    "test": "MNIST, test",
    "validation": "MNIST, validation",
    "rendered": "rendered as the service sees people's, held out",
}
HUB: Final = {  # what a result is of, as the Hub takes it; validation is for choices, and no result
    "test": {"type": "ylecun/mnist", "name": "MNIST", "split": "test"},
    "rendered": {"type": "rendered", "name": "Digits rendered as the service sees people's"},
}
BESIDE: Final = {  # by the knob that tells their number
    "seen": "pictures as the service sees people's, of many pens, papers and lights; two of seven are no digits",
    "written": "digits of our own hand",  # version 1's
}
DOUBTING: Final = (
    "It was taught to give even probabilities to what is no digit, and the service reads them as `unlike_a_digit`; "
    "some letters and scribbles pass for digits all the same."
)
UNDOUBTING: Final = "It was not taught what is no digit, and may be sure of a letter or a scribble."
STANDING: Final = " on digits that its first, fixed layer makes to stand upright (`training/upright.py`)"
INPUTS: Final = math.prod(UPRIGHT.shape)
BEFORE_EXPORTS: Final = "The project's `models/README.md` has the latency of each version."


def readme(card: Mapping[str, Any]) -> str:
    """The README.md of the version that a card describes."""
    training, data, knobs = card["training"], card["data"], card["training"]["knobs"]
    beside = [f"{knobs[knob]:,} {what}" for knob, what in BESIDE.items() if knobs.get(knob)]
    machine = card.get("environment")  # which version 1's card has not
    return Template(
        TEMPLATE.read_text()
    ).substitute(
        license=LICENSE,
        quoted_name=json.dumps(card["name"]),  # JSON's strings are YAML's
        results="\n".join(_result(on, card["metrics"][on]) for on in HUB if on in card["metrics"]),
        name=card["name"],
        version=card["version"],
        layers="-".join(map(str, (INPUTS if knobs.get("deslant") else 784, *knobs["hidden"], 10))),
        geometry=STANDING if knobs.get("deslant") else "",
        shipping="\n".join(_ways(card["exports"], knobs["precision"])) if "exports" in card else BEFORE_EXPORTS,
        pixels=card["pixels"],
        created=card["created"][:10],
        doubt=DOUBTING if knobs.get("seen") else UNDOUBTING,
        warnings="".join(f"- {warning}.\n" for warning in data["warnings"]),
        scores=_rows(_score(on, facts) for on, facts in card["metrics"].items()),
        temperature=f"{card['temperature']:.3f}",
        compared=f"{card['parity']['images']:,}",
        difference=f"{card['parity']['max_difference']:.1e}",
        train=f"{data['train']:,}",
        validation=f"{data['validation']:,}",
        source=data["source"],
        beside="".join(f"; beside them {each}" for each in beside),
        files=_rows((f"`{name}`", f"`{digest}`") for name, digest in data["sha256"].items()),
        recipe=knobs["recipe"],
        epochs=len(training["epochs"]),
        seconds=f"{training['seconds']:,.1f}",
        machine=f" on {machine['processor']}, {machine['cores']} cores" if machine else "",
        commit=f"{card['git']['commit'][:12]}{' with changes' if card['git']['dirty'] else ''}",
        libraries=", ".join(f"{name} {version}" for name, version in card["libraries"].items()),
        knobs=_rows((f"`{name}`", _text(value)) for name, value in knobs.items()),
        sha256=card["sha256"],
    )


def _result(on: str, facts: Mapping[str, Any]) -> str:
    """One entry of the metadata's list of results."""
    dataset = "".join(f"      {key}: {value}\n" for key, value in HUB[on].items())
    scores = "\n".join(f"    - type: {name}\n      value: {facts[name]:.6f}" for name in ("accuracy", "nll", "ece"))
    return f"  - task:\n      type: image-classification\n    dataset:\n{dataset}    metrics:\n{scores}"


def _score(on: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of the table of scores."""
    worst = min(range(10), key=facts["recall"].__getitem__)
    return (
        NAMES[on],
        f"{facts['count']:,}",
        f"{facts['accuracy']:.2%}",
        f"{facts['nll']:.4f}",
        f"{facts['ece']:.2%}",
        f"{worst}: {facts['recall'][worst]:.1%} of them are read as such",
    )


def _ways(exports: Mapping[str, Mapping[str, Any]], precision: str) -> list[str]:
    """The table of the ways in which these weights could ship."""
    rows = (
        (
            f"**{name}**, this file" if name == precision else name,
            f"{facts['bytes'] / 1000:,.0f} kB",
            f"{facts['accuracy']:.2%}",
            f"{facts['nll']:.4f}",
            f"{facts['microseconds']:.0f} µs",
        )
        for name, facts in exports.items()
    )
    head = "| as | file | test accuracy | NLL | one image, one thread |\n| --- | --- | --- | --- | --- |"
    return [head, _rows(rows)]


def _rows(rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def main(versions: list[str]) -> None:
    """Write the README.md of versions that are there."""
    for version in map(Path, versions):
        (version / "README.md").write_text(readme(json.loads((version / "model.json").read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
