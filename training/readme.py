"""`python -m training.readme VERSION…`, the older form of `python -m training card VERSION…`."""

import sys

from .__main__ import main

if __name__ == "__main__":
    sys.exit(main(["card", *sys.argv[1:]]))
