"""Run `python -m service.rollback`, the older form of `python -m service rollback`."""

import sys

from .commands.rollback import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
