"""Run `python -m service.keys`, the older form of `python -m service keys`."""

import sys

from .commands.cli import run_alone

if __name__ == "__main__":
    sys.exit(run_alone("keys", sys.argv[1:]))
