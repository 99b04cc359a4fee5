"""`promote VERSION`: make a version serve, also a held one or the canary.

In: a version's number. Out: the version is on no list of held versions and is not the canary. The pin file names the
version, unless `latest` is chosen and means it. Every worker of every service on this folder follows within 2 s. A
version that must not serve is not promoted. Exit codes: 0 done, 2 a bad setting, 3 no such version, or a version that
must not serve, 4 a file that cannot be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import check, layout
from ..process.exit_codes import run_printing
from ..settings import Settings, add_model_flags, of_model_flags
from ..versions import choice

if TYPE_CHECKING:
    import argparse

HELP = "Make a version serve, also a held one or the canary."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("version", type=int, help="its number")
    add_model_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Promote the version; return the exit code."""
    return run_printing("promote", lambda: promote(of_model_flags(options), options.version))


def promote(settings: Settings, number: int) -> int:
    """Make a version serve: as `latest` where that is chosen and means it, or else by the pin file; return 0."""
    check.check(settings, number)
    choice.release(settings, number)
    by = "as the latest"
    if choice.chosen_version(settings) != layout.LATEST or choice.latest_candidates(settings)[:1] != [number]:
        choice.pin(settings, str(number))
        by = f"by {choice.pin_path(settings)}"
    print(f"version {number} is promoted, {by}; services follow within 2 s")
    return 0
