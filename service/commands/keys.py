"""`python -m service keys new --name shop --scopes infer >> keys.txt`: make an API key.

In: a name, scopes, and maybe a rate. Out: the line for the keys' file on stdout, and the key itself on stderr.
"""

from __future__ import annotations

import argparse
import sys

from ..access import keys


def main(arguments: list[str]) -> int:
    """Prints the line on stdout, for the file, and the key on stderr, for its holder."""
    parser = argparse.ArgumentParser(prog="python -m service.keys", description="Makes API keys.")
    command = parser.add_subparsers(required=True).add_parser("new", help="make a key and the line for the keys' file")
    command.add_argument("--name", required=True, help="whose key it is: a label in the metrics")
    command.add_argument(
        "--scopes", default="infer", help=f"what it is for, of {','.join(keys.SCOPES)}; default: infer"
    )
    command.add_argument("--rate", help="requests a second in each worker; default: no limit")
    options = parser.parse_args(arguments)
    key, line = keys.new(options.name, options.scopes, options.rate)
    if keys.parse_entry(line) is None:
        parser.error(
            f"expected a name like {keys.NAME}, scopes of {','.join(keys.SCOPES)}, and a rate as a number over 0"
        )
    print(line)
    print(f"{key}\nThis is the key of {options.name}. It is shown this once, and kept nowhere.", file=sys.stderr)
    return 0
