"""Run `python -m service.canary`, the older form of `python -m service canary`."""

import sys

from .commands.cli import run_alone

if __name__ == "__main__":
    sys.exit(run_alone("canary", sys.argv[1:]))
