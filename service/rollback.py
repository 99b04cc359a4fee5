"""Run `python -m service.rollback`, the older form of `python -m service rollback`."""

import sys

from .commands.cli import run_alone

if __name__ == "__main__":
    sys.exit(run_alone("rollback", sys.argv[1:]))
