"""`python -m training.seen`, the older form of `python -m training render`."""

import sys

from .__main__ import main

if __name__ == "__main__":
    sys.exit(main(["render", *sys.argv[1:]]))
