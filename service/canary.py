"""Run `python -m service.canary`, the older form of `python -m service canary`."""

import sys

from .commands.canary import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
