"""`keys new --name shop --scopes infer >> keys.txt`: make an API key. `keys list keys.txt`: show a file of keys.

In: a name, scopes, and perhaps a rate and a last day; or a file. Out: the line for the file of keys on stdout, and the
key itself on stderr; or a table of names, scopes, rates and last days, and what is wrong with other lines. Exit codes:
0 done, 2 a file that a service would not take.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..access import keys
from ..errors import SettingsError
from ..process.exit_codes import run_printing

if TYPE_CHECKING:
    import argparse

HELP = "Make API keys, and show those of a file."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    new = commands.add_parser("new", help="make a key and the line for the file of keys")
    new.add_argument("--name", required=True, help="whose key it is: a label in the metrics")
    new.add_argument("--scopes", default="infer", help=f"what it is for, of {','.join(keys.SCOPES)}; default: infer")
    new.add_argument("--rate", help="requests a second in each worker; default: no limit")
    new.add_argument("--expires", metavar="DATE", help="its last day, in UTC, like 2027-01-31; default: none")
    new.set_defaults(work=_new, refuse=new.error)
    listing = commands.add_parser("list", help="show names, scopes, rates and last days, and lines that are wrong")
    listing.add_argument("file", type=Path, metavar="FILE", help="file of keys")
    listing.set_defaults(work=_list)


def run(options: argparse.Namespace) -> int:
    """Make a key, or show a file of keys; return the exit code."""
    return run_printing("keys", lambda: options.work(options))


def _new(options: argparse.Namespace) -> int:
    """Print the line for the file on stdout, and the key for its holder on stderr."""
    key, line = keys.new(options.name, options.scopes, options.rate, options.expires)
    try:
        entry = keys.parse_entry(line)
    except ValueError as error:
        options.refuse(f"the line would be wrong: {error}")
    if entry.ends() < time.time():
        options.refuse(f"--expires: expected a day that is not over, found {entry.expires}")
    print(line)
    print(f"{key}\nThis is the key of {options.name}. It is shown this once, and kept nowhere.", file=sys.stderr)
    return 0


def _list(options: argparse.Namespace) -> int:
    """Print a row for each key, and then what is wrong with the other lines; raises `SettingsError`."""
    lines = keys.parse_lines(options.file)
    entries = [parsed for _, parsed in lines if isinstance(parsed, keys.Entry)]
    rows = [("name", "scopes", "rate", "last day"), *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    wrong = [f"line {number}: {parsed}" for number, parsed in lines if isinstance(parsed, ValueError)]
    if wrong:
        raise SettingsError("\nkeys: ".join(wrong))
    keys.read(options.file)
    return 0


def _row(entry: keys.Entry) -> tuple[str, ...]:
    scopes = ",".join(scope for scope in keys.SCOPES if scope in entry.scopes)
    rate = "-" if entry.rate is None else f"{entry.rate:g}/s"
    over = " (expired)" if entry.ends() < time.time() else ""
    return entry.name, scopes, rate, "-" if entry.expires is None else f"{entry.expires}{over}"
