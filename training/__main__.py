"""The command line: `python -m training COMMAND …`; without a command, `train`.

Exit codes: 0 done, 1 no data or no disk, 2 usage, 3 a gate refused, 130 Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: sys.exit(130))  # before the imports, which take seconds

import argparse
import logging
from typing import TYPE_CHECKING, Final

from . import __version__, learn_weights, sweep, train
from .errors import DataError, TrainingError
from .evaluation import handwriting
from .export import model_readme
from .loop import distributed
from .reporting import compare
from .synthesis import rendered

if TYPE_CHECKING:
    from types import ModuleType

# Each module has HELP, add_arguments(parser) and run(given).
COMMANDS: Final[dict[str, ModuleType]] = {
    "train": train,
    "evaluate": handwriting,
    "compare": compare,
    "sweep": sweep,
    "card": model_readme,
    "render": rendered,
    "learn-weights": learn_weights,
}


def parse(words: list[str]) -> tuple[ModuleType, dict[str, object]]:
    """Return the command's module and its arguments; `--help`, `--version` and usage errors end the process."""
    if not words or words[0] not in {*COMMANDS, "-h", "--help", "--version"}:
        words = ["train", *words]
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train MNIST classifiers, and evaluate, compare and describe them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mnist-mlp {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)
    for name, module in COMMANDS.items():
        description = f"{module.HELP[0].upper()}{module.HELP[1:]}."
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=description, allow_abbrev=False))
    parser.epilog = f"Without a command it trains. {commands.choices['train'].format_help()}"
    options, rest = parser.parse_known_args(words)
    given = vars(options)
    module = COMMANDS[given.pop("command")]
    if module is sweep:
        given["flags"] = rest  # of the training jobs that it runs
    elif rest:
        commands.choices[words[0]].error(f"unrecognized arguments: {' '.join(rest)}")
    return module, given


def main(words: list[str] | None = None) -> int:
    """Run the command of a command line, by default this process's; returns the exit code."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    try:
        module, given = parse(sys.argv[1:] if words is None else words)
        module.run(given)
    except (TrainingError, OSError) as error:  # OSError: a folder that cannot be written, a full disk
        # Other errors are the same in all processes.
        if distributed.is_main() or isinstance(error, DataError | OSError):
            print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    code = main()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Python's exit reports an exception of a signal handler at length
    sys.exit(code)
