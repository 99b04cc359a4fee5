"""`status`: which versions there are, which one serves, and which one is the canary.

In: settings, as a start reads them. Out: lines for people on stdout. It reads the model's folder alone: it asks no
running service and checks no version. Exit codes: 0 done, 2 a bad setting, 3 a folder without versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import settings as settings_module
from ..model import layout
from ..process.exit_codes import run_command
from ..versions import choice
from ..versions.bundled import or_bundled

if TYPE_CHECKING:
    import argparse

    from ..settings import Settings

HELP = "Show the model versions: which one serves, and which one is the canary."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    settings_module.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Print the state of the model's folder; return the exit code."""
    return run_command("status", lambda: _print(options))


def _print(options: argparse.Namespace) -> int:
    settings = or_bundled(settings_module.of_flags(options))
    numbers = layout.numbers(settings.model_dir)
    whole = [number for number in numbers if layout.stamp(settings.model_dir / str(number)) is not None]
    listed = ", ".join(str(number) if number in whole else f"{number} (files are missing)" for number in numbers)
    print(f"{settings.model_dir} has version{'s' * (len(numbers) > 1)} {listed}.")
    print(_served(settings, whole))
    print(_canary(choice.read_canary(settings)))
    return 0


def _served(settings: Settings, whole: list[int]) -> str:
    word, pin = choice.chosen_version(settings), choice.pin_path(settings)
    named_by = f"{pin} names it" if pin.exists() else f"MNIST_MODEL_VERSION={settings.model_version}"
    if word != layout.LATEST:
        return f"Version {word} {'serves' if int(word) in whole else 'is chosen, but is not there'}: {named_by}."
    candidates = [number for number in choice.latest_candidates(settings) if number in whole]
    if not candidates:
        return "No version serves: there is only the canary, or files are missing."
    return f"Version {candidates[0]} serves: it is the latest ({named_by})."


def _canary(canary: choice.CanarySpec | None) -> str:
    if canary is None:
        return "There is no canary."
    if canary.percent is None:
        return f"Version {canary.number} is held back from latest."
    share = f"answers {canary.percent:g} % of the requests" if canary.percent else "answers no request: it is compared"
    return f"Version {canary.number} is the canary and {share}."
