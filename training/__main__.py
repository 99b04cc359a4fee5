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
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import __version__, learn_weights, sweep, train
from .errors import DataError, TrainingError
from .evaluation import handwriting
from .export import model_readme, push, signing
from .loop import distributed
from .parser import Parser
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
    "push": push,
    "sign": signing,
    "render": rendered,
    "learn-weights": learn_weights,
}
SCRIPT: Final = "mnist-mlp-train"  # what the wheel installs


def parse(words: list[str]) -> tuple[ModuleType, dict[str, object]]:
    """Return the command's module and its arguments; `--help`, `--version` and usage errors end the process."""
    if not words or (words[0].startswith("-") and words[0] not in {"-h", "--help", "--version"}):
        words = ["train", *words]
    program = SCRIPT if Path(sys.argv[0]).name == SCRIPT else "python -m training"
    parser = Parser(
        prog=program,
        description="Train MNIST classifiers, and evaluate, compare, describe and sign them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mnist-mlp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        description = f"{module.HELP[0].upper()}{module.HELP[1:]}."
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=description))
    flags = commands.choices["train"].format_help().partition("options:\n")[2]
    parser.epilog = f"Without a command it trains. The flags of train:\n{flags}"
    if words[0] not in COMMANDS:
        parser.parse_args(words)  # ends the process
    options, rest = commands.choices[words[0]].parse_known_args(words[1:])
    module = COMMANDS[words[0]]
    given = vars(options)
    if module is sweep:
        given["flags"] = rest  # of the training jobs that it runs
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
