"""`python -m service [COMMAND] …`: serve, which is the default, or one of the other commands of `service.commands`."""

from __future__ import annotations

import sys

from .process.imports import uncollected
from .system import processes, signals

if __name__ == "__main__":  # a signal ends the process from here on; the imports below take their time
    processes.open_missing()
    signals.install(unfinished=sys.argv[1:2] == ["batch"])

with uncollected():
    from .commands.cli import main

if __name__ == "__main__":
    signals.end(main(sys.argv[1:]))
