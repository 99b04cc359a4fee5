"""The README.md of a version's folder: its card for people, which the Hugging Face Hub shows as the model card.

In: a card as `card` and `publish` make it. Out: Markdown after a block of metadata in YAML, as the Hub specifies it
(huggingface/hub-docs, modelcard.md). The text that does not depend on the card is in model_readme.md, beside this file.

    python -m training card models/mnist-mlp/*
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

from ..network.deslant import DESLANTED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

TEMPLATE: Final = Path(__file__).with_name("model_readme.md")
HELP: Final = "write the README.md of versions from their model.json"
LICENSE: Final = "apache-2.0"  # as the Hub writes it
NAMES: Final = {
    "test": "MNIST, test",
    "validation": "MNIST, validation",
    "rendered": "rendered pictures as the service sees them, held out",
}
HUB: Final = {  # the data set of a result, as the Hub names it; validation serves choices and is not a result
    "test": {"type": "ylecun/mnist", "name": "MNIST", "split": "test"},
    "rendered": {"type": "rendered", "name": "Rendered pictures of digits as the service sees them"},
}
COVERAGES: Final = (0.99, 0.995, 0.999)  # of which the quantiles are listed
MORE_DATA: Final = {  # by the hyperparameter with their number
    "seen": "rendered pictures as the service sees them, of many pens, papers and lights; two of seven show no digit",
    "written": "digits in our own handwriting",  # of version 1
}
WITH_UNCERTAINTY: Final = (
    "It is trained to give uniform probabilities to what is not a digit, and the service warns of them with "
    "`unlike_a_digit`; it still takes some letters and scribbles for digits."
)
WITHOUT_UNCERTAINTY: Final = (
    "It is not trained on what is not a digit, and may be confident about a letter or a scribble."
)
DESLANTED_FIRST: Final = " after a fixed first layer that removes the slant (`training/network/deslant.py`)"
INPUTS: Final = math.prod(DESLANTED.shape)
WITHOUT_EXPORTS: Final = "The project's `models/README.md` has the latency of each version."


def render_readme(card: Mapping[str, Any]) -> str:
    """Return the README.md of the version that a card describes."""
    training, data, knobs = card["training"], card["data"], card["training"]["knobs"]
    more = [f"{knobs[name]:,} {what}" for name, what in MORE_DATA.items() if knobs.get(name)]
    machine = card.get("environment")  # version 1's card has none
    return Template(
        TEMPLATE.read_text()
    ).substitute(
        license=LICENSE,
        quoted_name=json.dumps(card["name"]),  # JSON's strings are YAML's
        results="\n".join(_result(on, card["metrics"][on]) for on in HUB if on in card["metrics"]),
        name=card["name"],
        version=card["version"],
        layers="-".join(map(str, (INPUTS if knobs.get("deslant") else 784, *knobs["hidden"], 10))),
        geometry=DESLANTED_FIRST if knobs.get("deslant") else "",
        shipping="\n".join(_exports(card["exports"], knobs["precision"])) if "exports" in card else WITHOUT_EXPORTS,
        pixels=card["pixels"],
        created=card["created"][:10],
        uncertainty=WITH_UNCERTAINTY if knobs.get("seen") else WITHOUT_UNCERTAINTY,
        warnings="".join(f"- {warning}.\n" for warning in data["warnings"]),
        scores=_rows(_score(on, facts) for on, facts in card["metrics"].items()),
        temperature=f"{card['temperature']:.3f}",
        compared=f"{card['parity']['images']:,}",
        difference=f"{card['parity']['max_difference']:.1e}",
        sets=_sets(card["conformal"]) if "conformal" in card else "",
        train=f"{data['train']:,}",
        validation=f"{data['validation']:,}",
        source=data["source"],
        more="".join(f", and {each}" for each in more),
        files=_rows((f"`{name}`", f"`{digest}`") for name, digest in data["sha256"].items()),
        recipe=knobs["recipe"],
        epochs=len(training["epochs"]),
        seconds=f"{training['seconds']:,.1f}",
        machine=f" on {machine['processor']}, {machine['cores']} cores" if machine else "",
        teacher=_teacher(knobs.get("teacher_epochs", 0)),
        commit=f"{card['git']['commit'][:12]}{' with changes' if card['git']['dirty'] else ''}",
        libraries=", ".join(f"{name} {version}" for name, version in card["libraries"].items()),
        knobs=_rows((f"`{name}`", _text(value)) for name, value in knobs.items()),
        sha256=card["sha256"],
    )


def _teacher(epochs: int) -> str:
    """Return how the network learned, if not from labels; a card of an earlier release does not say."""
    learned = f"a convolutional network of {epochs} epochs, whose answers it learned instead of labels"
    return f", with those of its teacher: {learned}" if epochs else ""


def _result(on: str, facts: Mapping[str, Any]) -> str:
    """Return one entry of the metadata's list of results."""
    dataset = "".join(f"      {key}: {value}\n" for key, value in HUB[on].items())
    scores = "\n".join(f"    - type: {name}\n      value: {facts[name]:.6f}" for name in ("accuracy", "nll", "ece"))
    return f"  - task:\n      type: image-classification\n    dataset:\n{dataset}    metrics:\n{scores}"


def _score(on: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a row of the table of scores."""
    worst = min(range(10), key=facts["recall"].__getitem__)
    return (
        NAMES[on],
        f"{facts['count']:,}",
        f"{facts['accuracy']:.2%}",
        f"{facts['nll']:.4f}",
        f"{facts['ece']:.2%}",
        f"{worst}: {facts['recall'][worst]:.1%} of them are recognised",
    )


def _exports(exports: Mapping[str, Mapping[str, Any]], precision: str) -> list[str]:
    """Return the table of the variants of these weights."""
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
    head = "| variant | file | test accuracy | NLL | one image, one thread |\n| --- | --- | --- | --- | --- |"
    return [head, _rows(rows)]


def _sets(conformal: Mapping[str, Any]) -> str:
    """Return the paragraph about sets of digits."""
    counts = "; ".join(f"{count:,} of {NAMES[on]}" for on, count in conformal["counts"].items())
    scores = dict(zip(conformal["levels"], conformal["quantiles"], strict=True))
    within = ", ".join(
        f"{level:.1%}: all ten digits" if scores[level] is None else f"{level:.1%}: {scores[level]:.2f}"
        for level in COVERAGES
    )
    return (
        "\nSets of digits hold the right one with a wanted coverage, by split conformal prediction (Papadopoulos et al."
        "\n2002): all digits whose log-probability is within so many nats of the highest. For a coverage of "
        f"{within}.\nEach source of these digits is covered: {counts}.\n"
    )


def _rows(rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the versions."""
    parser.add_argument("versions", type=Path, nargs="+", metavar="VERSION", help="folder of a model version")


def run(given: dict[str, Any]) -> None:
    """Write the README.md of each version."""
    for version in given["versions"]:
        (version / "README.md").write_text(render_readme(json.loads((version / "model.json").read_text())))
