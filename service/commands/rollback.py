"""`python -m service.rollback [VERSION | --undo]`: choose the version that is served, while the services run.

In: a version's number; none is the one below the chosen one. Out: the pin file, which every worker of every service on
this folder follows within 2 s and which outlives them; `--undo` removes it, and MNIST_MODEL_VERSION chooses again. A
version that must not serve is not pinned. Exit codes: 0 done, 2 a setting that cannot be used, 3 no such version, or
one that must not serve, 4 the pin cannot be written.
"""

from __future__ import annotations

import argparse

from .. import settings as settings_module
from ..errors import ModelError
from ..model import check
from ..process.exit_codes import run_command
from ..versions import folder


def main(arguments: list[str]) -> int:
    """Pins, or lets go; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m service.rollback",
        description="Choose the version that is served, while the services run.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("version", nargs="?", type=int, help="its number; default: the one below the chosen one")
    what.add_argument("--undo", action="store_true", help="let MNIST_MODEL_VERSION choose again")
    for setting in ("model-dir", "pin-file"):
        parser.add_argument(f"--{setting}", help="as for `python -m service`; default: what the environment says")
    chosen = parser.parse_args(arguments)
    return run_command("rollback", lambda: _choose(chosen))


def _choose(chosen: argparse.Namespace) -> int:
    given = {"--model-dir": chosen.model_dir, "--pin-file": chosen.pin_file}
    settings = settings_module.load([part for flag in given.items() if flag[1] for part in flag])
    if chosen.undo:
        folder.unpin(settings)
        print(f"unpinned: MNIST_MODEL_VERSION={settings.model_version} chooses; services follow within 2 s")
        return 0
    number = chosen.version or _before(settings)
    check.check(settings, number)
    folder.pin(settings, str(number))
    print(f"version {number} is pinned in {folder.pin_file(settings)}; services follow within 2 s")
    return 0


def _before(settings: settings_module.Settings) -> int:
    """The highest version below the chosen one; raises `ModelError`."""
    word = folder.chosen_version(settings)
    numbers = folder.candidates(settings)
    highest = max(numbers, default=0) if word == folder.LATEST else int(word)
    below = [number for number in numbers if number < highest]
    if not below:
        raise ModelError(f"{settings.model_dir}: expected a version below {highest}, found none")
    return below[0]
