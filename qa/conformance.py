"""`python -m qa.conformance [--seconds N] [--seed N]` makes up requests from both schemas and prints what is wrong.

In: seconds, and a seed. Out: for each schema how many requests were made, and which answers break it. Exit code 1 if
any does.
"""

from __future__ import annotations

import argparse
import sys

from tests.support.conformance import PROTOCOL, explored
from tests.support.service import running_service


def main(arguments: list[str]) -> int:
    """Half of the time for each schema."""
    parser = argparse.ArgumentParser(prog="python -m qa.conformance")
    parser.add_argument("--seconds", type=int, default=600, help="of all; default 600")
    parser.add_argument("--seed", type=int, default=1, help="another one makes up other requests")
    asked = parser.parse_args(arguments)
    words = ["--max-time", str(asked.seconds // 2), "--seed", str(asked.seed), "--generation-database", "none"]
    failed = 0
    with running_service() as service:
        for schema in (f"{service.url}/openapi.json", PROTOCOL):
            run = explored(schema, service.url, *words)
            sys.stdout.write(run.stdout + run.stderr)
            failed |= run.returncode
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
