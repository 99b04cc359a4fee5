"""`canary VERSION [--percent P] | --off | --promote`: try a version beside the one that serves.

In: a version's number and its share of the requests; 0, the default, is a shadow, which answers no request and is only
compared. Out: the canary file beside the pin file, which every worker of every service on this folder follows within
2 s. `--off` stops the canary, and puts it on the list of held versions, which `latest` never means; so does another
canary in its place. `--promote` makes it serve. A version that must not serve cannot be the canary. Exit codes: 0 done,
2 a bad setting, 3 no such version, a version that must not serve, or no canary, 4 a file that cannot be written.
"""

from __future__ import annotations

import argparse

from ..errors import ModelError
from ..model import check
from ..process.exit_codes import run_printing
from ..settings import Settings, add_model_flags, of_model_flags
from ..versions import choice
from .promote import promote

HELP = "Try a version beside the one that serves."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "%(prog)s [-h] (VERSION | --off | --promote) [--percent PERCENT] [--SETTING PATH ...]"
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("version", nargs="?", type=int, help="number of the version to try")
    action.add_argument("--off", action="store_true", help="stop the canary, and hold it: latest never means it")
    action.add_argument("--promote", action="store_true", help="make the canary serve")
    parser.add_argument(
        "--percent", type=_percent, default=0.0, help="share of the requests; default 0: only compare, answer none"
    )
    add_model_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Write the canary file; return the exit code."""
    return run_printing("canary", lambda: _write(options))


def _percent(text: str) -> float:
    percent = float(text)
    if not 0 <= percent <= 100:
        raise argparse.ArgumentTypeError(f"expected 0 to 100, found {text}")
    return percent


def _write(options: argparse.Namespace) -> int:
    settings = of_model_flags(options)
    if options.promote:
        return promote(settings, _canary(settings).number)
    if options.off:
        number = _canary(settings).number
        choice.hold(settings, number)
        choice.remove_canary(settings)
        print(f"version {number} is held, by {choice.held_path(settings)}; services follow within 2 s")
        return 0
    check.check(settings, options.version)
    before = choice.read_canary(settings)
    if before is not None and before.number != options.version:
        choice.hold(settings, before.number)
        print(f"version {before.number} is no canary any more and is held, by {choice.held_path(settings)}")
    choice.write_canary(settings, options.version, options.percent)
    share = f"answers {options.percent:g} % of the requests" if options.percent else "is compared"
    print(f"version {options.version} {share}, by {choice.canary_path(settings)}; services follow within 2 s")
    return 0


def _canary(settings: Settings) -> choice.CanarySpec:
    canary = choice.read_canary(settings)
    if canary is None:
        raise ModelError(f"{choice.canary_path(settings)}: expected a canary, found none")
    return canary
