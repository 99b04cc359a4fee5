"""`status [--json]`: which version serves, its source, the pin, the canary, and held and refused versions with reasons.

In: settings, as a start reads them. Out: a table for people on stdout, or with `--json` one object for programs. It
asks no running service: it reads the model's folder, and checks versions as a start does, from the first that may serve
to the first that passes; and the canary. Exit codes: 0 done, 2 a bad setting, 3 a folder without versions, or a pin, a
canary or a list of held versions that cannot be read.

The fields of the object:

    model_dir      the model's folder
    model_version  MNIST_MODEL_VERSION, which chooses where there is no pin
    source         {"address": MNIST_MODEL_SOURCE, "last_success": when it was polled last without a problem, in ISO
                   8601, or null for never, "problem": of the last poll, empty for none}; null: there is no source
    pin            the word in the pin file: a number, or latest; null: there is no pin
    canary         {"version", "percent": of the requests; 0 for a shadow}, or null
    held           the numbers that `latest` never means, also those without a folder
    serves         the version that a start would serve, or null
    problem        why no version would serve; empty where one would
    versions       highest first: {"version", "state", "reason": empty where there is nothing to say}; the state is
                   serves, canary, held, refused, incomplete (files are missing), or available (it was not checked)
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .. import settings as settings_module
from ..errors import ModelError
from ..model import check, layout, signature
from ..process.exit_codes import run_printing
from ..source import state as state_of_source
from ..versions import choice
from ..versions.bundled import or_bundled
from ..versions.manager import VersionManager
from ..versions.shared_state import SharedState

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ..settings import Settings

COLUMNS = ("version", "state", "reason")
HELP = "Show what serves, the pin, the canary, and the held and refused versions."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's argument, and a flag for each setting."""
    parser.add_argument("--json", action="store_true", help="one object for programs, instead of a table")
    settings_module.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Print the state of the model's folder; return the exit code."""
    return run_printing("status", lambda: _print(options))


def _print(options: argparse.Namespace) -> int:
    settings = or_bundled(settings_module.of_flags(options))
    signature.read_keys(settings)  # raises for keys that cannot be read
    facts = describe(settings)
    print(json.dumps(facts, indent=2) if options.json else _for_people(settings, facts))
    return 0


def describe(settings: Settings) -> dict[str, Any]:
    """Return the fields of the object; raises `ModelError`."""
    chosen, canary, held = choice.chosen_version(settings), choice.read_canary(settings), choice.read_held(settings)
    source = _source(settings)
    with state_of_source.naming(source["problem"] if source else ""):
        numbers = layout.numbers(settings.model_dir)
    serves, problem, refused = _check(settings, canary)
    refused = _unsigned(settings, numbers) | refused

    def state(number: int) -> tuple[str, str]:
        if number == serves:
            return "serves", ""
        if layout.stamp(settings.model_dir / str(number)) is None:
            return "incomplete", "files are missing"
        if number in refused:
            return "refused", refused[number]
        if canary is not None and number == canary.number:
            return "canary", _share(canary.percent)
        if number in held:
            return "held", f"latest never means it; `python -m service promote {number}` makes it serve"
        return "available", ""

    return {
        "model_dir": str(settings.model_dir),
        "model_version": settings.model_version,
        "source": source,
        "pin": chosen if choice.pin_path(settings).exists() else None,
        "canary": None if canary is None else {"version": canary.number, "percent": canary.percent},
        "held": sorted(held),
        "serves": serves,
        "problem": problem,
        "versions": [dict(zip(COLUMNS, (number, *state(number)), strict=True)) for number in numbers],
    }


def _source(settings: Settings) -> dict[str, Any] | None:
    if settings.model_source is None:
        return None
    seconds = state_of_source.last_success(settings.model_dir)
    return {
        "address": settings.model_source,
        "last_success": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None,
        "problem": state_of_source.read_problem(settings.model_dir),
    }


def _check(settings: Settings, canary: choice.CanarySpec | None) -> tuple[int | None, str, dict[int, str]]:
    """Return the version that a start would serve, or None and why; and the reasons of refused versions by number."""
    models = VersionManager(settings, SharedState(shared=False))
    serves, problem, refused = None, "", models.loader.refused
    try:
        serves = int(models.check(lambda: None))
    except ModelError as error:
        problem = models.loader.missing_message() or str(error)
    if canary is not None and canary.number not in {serves, *refused} and canary.number in models.loader.numbers:
        try:
            check.check(settings, canary.number)
        except ModelError as error:
            refused[canary.number] = str(error)
    return serves, problem, refused


def _unsigned(settings: Settings, numbers: list[int]) -> dict[int, str]:
    """Return the reasons of versions that have no signature, by number, where a setting demands signatures."""
    if settings.model_public_key is None:
        return {}
    missing = [number for number in numbers if not layout.signature_path(settings.model_dir, number).exists()]
    return {number: f"it has no signature, {number}.sig, as {signature.SETTING} demands" for number in missing}


def _share(percent: float) -> str:
    return f"answers {percent:g} % of the requests" if percent else "answers no request: it is compared"


def _for_people(settings: Settings, facts: dict[str, Any]) -> str:
    pin, canary, source = facts["pin"], facts["canary"], facts["source"]
    no_pin = f"none, so MNIST_MODEL_VERSION={facts['model_version']} chooses"
    rows = [
        ("model", facts["model_dir"]),
        *([] if source is None else _rows_of_source(source)),
        ("serves", f"version {facts['serves']}" if facts["serves"] else f"none: {facts['problem']}"),
        ("pin", no_pin if pin is None else f"{pin}, by {choice.pin_path(settings)}"),
        ("canary", "none" if canary is None else f"version {canary['version']} {_share(canary['percent'])}"),
        ("held", ", ".join(map(str, facts["held"])) or "none"),
    ]
    return f"{_align(rows)}\n\n{_align([COLUMNS, *(tuple(each.values()) for each in facts['versions'])])}"


def _rows_of_source(source: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("source", source["address"]),
        ("last pull", source["last_success"] or "never without a problem"),
        ("problem", source["problem"] or "none"),
    ]


def _align(rows: Sequence[Sequence[object]]) -> str:
    """Return lines in which each column but the last is as wide as its widest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)
