"""`python -m tests.support.garbage FILE PYTHON -m service`: count what the service leaves to the garbage
collector.

In: a file's path. Out: in the file, how many objects the collector has freed until now; written after each of its
passes. What it frees was in a reference cycle: until then that holds on to memory, and finding it costs the requests.
"""

from __future__ import annotations

import gc
import runpy
import sys
from pathlib import Path


def main(file: Path) -> None:
    """Run the service in this process."""
    freed = 0

    def count(phase: str, about: dict[str, int]) -> None:
        nonlocal freed
        if phase == "stop" and about["collected"]:
            freed += about["collected"]
            file.write_text(str(freed))

    file.write_text("0")
    gc.callbacks.append(count)
    sys.argv = ["service"]
    runpy.run_module("service", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
