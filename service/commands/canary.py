"""`python -m service.canary VERSION [--percent P] | --off | --promote`: try a version beside the one that serves.

In: a version's number and its share of the requests; 0, the default, is a shadow, which answers none and is compared.
Out: the canary file beside the pin, which every worker of every service on this folder follows within 2 s. `--off`
stops the version and holds it back from `latest`; `--promote` has it serve. A version that must not serve is not tried.
Exit codes: 0 done, 2 a setting that cannot be used, 3 no such version, one that must not serve, or no canary, 4 a file
cannot be written.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .. import settings as settings_module
from ..errors import ModelError
from ..model import check
from ..process.exit_codes import run_command
from ..versions import folder

if TYPE_CHECKING:
    from ..settings import Settings


def main(arguments: list[str]) -> int:
    """Tells what is to be tried; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m service.canary", description="Try a version beside the one that serves."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("version", nargs="?", type=int, help="its number")
    what.add_argument("--off", action="store_true", help="stop the canary, and hold it back from latest")
    what.add_argument("--promote", action="store_true", help="have the canary serve")
    parser.add_argument(
        "--percent", type=_percent, default=0.0, help="of the requests; default 0: it answers none and is only compared"
    )
    for setting in ("model-dir", "pin-file"):
        parser.add_argument(f"--{setting}", help="as for `python -m service`; default: what the environment says")
    chosen = parser.parse_args(arguments)
    return run_command("canary", lambda: _tell(chosen))


def _percent(text: str) -> float:
    percent = float(text)
    if not 0 <= percent <= 100:
        raise argparse.ArgumentTypeError(f"expected 0 to 100, found {text}")
    return percent


def _tell(chosen: argparse.Namespace) -> int:
    given = {"--model-dir": chosen.model_dir, "--pin-file": chosen.pin_file}
    settings = settings_module.load([part for flag in given.items() if flag[1] for part in flag])
    if chosen.off:
        number = _told(settings).number
        folder.write_canary(settings, number, None)
        done = f"version {number} is held back"
    elif chosen.promote:
        number = _told(settings).number
        _promote(settings, number)
        done = f"version {number} is promoted"
    else:
        check.check(settings, chosen.version)
        folder.write_canary(settings, chosen.version, chosen.percent)
        share = f"answers {chosen.percent:g} % of the requests" if chosen.percent else "is compared"
        done = f"version {chosen.version} {share}"
    print(f"{done}, by {folder.canary_path(settings)}; services follow within 2 s")
    return 0


def _promote(settings: Settings, number: int) -> None:
    """Have a version serve: as `latest`, where that is chosen and comes to it, or else by the pin."""
    check.check(settings, number)
    if folder.chosen_version(settings) != folder.LATEST or number != folder.numbers(settings.model_dir)[0]:
        folder.pin(settings, str(number))
    folder.remove_canary(settings)


def _told(settings: Settings) -> folder.CanarySpec:
    told = folder.read_canary(settings)
    if told is None:
        raise ModelError(f"{folder.canary_path(settings)}: expected a canary, found none")
    return told
