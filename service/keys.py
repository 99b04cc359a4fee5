"""Run `python -m service.keys`, the older form of `python -m service keys`."""

import sys

from .commands.keys import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
