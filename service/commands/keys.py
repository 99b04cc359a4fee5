"""`keys new --name shop --scopes infer >> keys.txt`: make an API key.

In: a name, scopes, and perhaps a rate. Out: the line for the file of keys on stdout, and the key itself on stderr.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..access import keys

if TYPE_CHECKING:
    import argparse

HELP = "Make API keys."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    new = parser.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser(
        "new", help="make a key and the line for the file of keys"
    )
    new.add_argument("--name", required=True, help="whose key it is: a label in the metrics")
    new.add_argument("--scopes", default="infer", help=f"what it is for, of {','.join(keys.SCOPES)}; default: infer")
    new.add_argument("--rate", help="requests a second in each worker; default: no limit")
    new.set_defaults(refuse=new.error)


def run(options: argparse.Namespace) -> int:
    """Print the line for the file on stdout, and the key for its holder on stderr."""
    key, line = keys.new(options.name, options.scopes, options.rate)
    if keys.parse_entry(line) is None:
        options.refuse(
            f"expected a name like {keys.NAME}, scopes of {','.join(keys.SCOPES)}, and a rate as a number over 0"
        )
    print(line)
    print(f"{key}\nThis is the key of {options.name}. It is shown this once, and kept nowhere.", file=sys.stderr)
    return 0
