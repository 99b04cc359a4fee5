"""The command line: which command runs, with which arguments.

In: words. Out: the exit code of the command. Each command is a module with `HELP`, `add_arguments` and `run`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..client import Parser
from ..observability import logs
from ..observability.log_format import FORMATTERS
from ..process.exit_codes import run_printing
from . import batch, canary, check, keys, promote, rollback, serve, status

if TYPE_CHECKING:
    from typing import NoReturn

    from ..observability.log_format import LogFormat

COMMANDS = {
    "serve": serve,
    "status": status,
    "check": check,
    "promote": promote,
    "canary": canary,
    "rollback": rollback,
    "keys": keys,
    "batch": batch,
}
PROGRAM = "python -m service"
SCRIPT = "mnist-mlp-serve"  # what the wheel installs


def main(arguments: list[str]) -> int:
    """Run a command of `python -m service`; flags without a command are those of `serve`."""
    asked = arguments[:1] in (["-h"], ["--help"], ["--version"])
    if not asked and (not arguments or arguments[0].startswith("-")):
        arguments = ["serve", *arguments]
    if arguments[0] == "serve":  # what is wrong with its arguments is in the format of its other output
        logs.choose_format(_log_format(arguments))
    program = SCRIPT if Path(sys.argv[0]).name == SCRIPT else PROGRAM
    parser = _Parser(
        prog=program,
        description="Answer which digits pictures show, and look after the model versions that answer.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mnist-mlp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.HELP, description=command.HELP)
        if asked and command is serve:
            command.add_arguments(added)
            flags = added.format_help().partition("options:\n")[2]
            parser.epilog = f"Without a command it serves. The settings of serve, status and check:\n{flags}"
        elif arguments[0] == name:  # flags of settings take some milliseconds to add
            added.prog = program + (" [serve]" if command is serve else f" {name}")
            command.add_arguments(added)
            added.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    return int(options.run(options))


class _Parser(Parser):
    """The parser of all commands."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process, with the message in the format of its other output."""
        if message:
            logs.print_for_people(message.removesuffix("\n"), sys.stderr)
        sys.exit(run_printing(self.prog, lambda: status))


def _log_format(arguments: list[str]) -> LogFormat | None:
    """Return the format that a flag or the environment names, before the settings are read."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    named = dict(itertools.pairwise(words)).get("--log-format", os.environ.get("MNIST_LOG_FORMAT"))
    return next((known for known in FORMATTERS if known == named), None)


def run_alone(name: str, arguments: list[str]) -> int:
    """Run a command in its older form, `python -m service.NAME`."""
    command = COMMANDS[name]
    parser = _Parser(prog=f"{PROGRAM}.{name}", description=command.HELP)
    command.add_arguments(parser)
    return int(command.run(parser.parse_args(arguments)))
