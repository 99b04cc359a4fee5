"""`rollback [VERSION | --undo]`: choose the version that serves, while services run.

In: a version's number; without one, the next version below the chosen one that is neither held nor the canary. Out:
the pin file, which every worker of every service on this folder follows within 2 s and which outlives them. `--undo`
removes it, so that MNIST_MODEL_VERSION chooses again. A version that must not serve is not pinned. Exit codes: 0 done,
2 a bad setting, 3 no such version, or a version that must not serve, 4 the pin file cannot be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ModelError
from ..model import check, layout
from ..process.exit_codes import run_printing
from ..settings import Settings, add_model_flags, of_model_flags
from ..versions import choice

if TYPE_CHECKING:
    import argparse

HELP = "Choose the version that is served, while the services run."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    action = parser.add_mutually_exclusive_group()
    action.add_argument("version", nargs="?", type=int, help="its number; default: the one below the chosen one")
    action.add_argument("--undo", action="store_true", help="let MNIST_MODEL_VERSION choose again")
    add_model_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Write or remove the pin file; return the exit code."""
    return run_printing("rollback", lambda: _choose(options))


def _choose(options: argparse.Namespace) -> int:
    settings = of_model_flags(options)
    if options.undo:
        choice.unpin(settings)
        print(f"unpinned: MNIST_MODEL_VERSION={settings.model_version} chooses; services follow within 2 s")
        return 0
    number = _version_below(settings) if options.version is None else options.version
    check.check(settings, number)
    choice.pin(settings, str(number))
    print(f"version {number} is pinned in {choice.pin_path(settings)}; services follow within 2 s")
    return 0


def _version_below(settings: Settings) -> int:
    """Return the highest version below the chosen one; raises `ModelError`."""
    word = choice.chosen_version(settings)
    numbers = choice.latest_candidates(settings)
    highest = max(numbers, default=0) if word == layout.LATEST else int(word)
    below = [number for number in numbers if number < highest]
    if not below:
        raise ModelError(f"{settings.model_dir}: expected a version below {highest}, found none")
    return below[0]
