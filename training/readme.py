"""`python -m training.readme VERSION…`, the older way to write `python -m training card VERSION…`."""

import sys

from .export.model_readme import main

if __name__ == "__main__":
    main(sys.argv[1:])
