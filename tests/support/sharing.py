"""Processes that count in shared files, for the tests of `service.observability.shared_metrics`.

`python -m tests.support.sharing count FOLDER` counts a little and ends, as a worker does. `… crash FOLDER` adds the
dead up again and again, each time on a copy and killed one step later, until it comes to its end; it prints the steps.
Both need PROMETHEUS_MULTIPROC_DIR, for which prometheus_client looks when it is imported.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

from service.observability import shared_metrics

STEPS = ("open", "os.", "shutil.")  # events of Python that touch files


def count(folder: Path) -> None:
    """One worker's life."""
    shared_metrics.join(folder)
    counter = Counter("events", "x", ["kind"])
    for kind in range(100):
        counter.labels(str(kind)).inc(kind)
    histogram = Histogram("sizes", "x", buckets=(1, 2))
    for value in (0.5, 1.5, 2.5):
        histogram.observe(value)
    Gauge("last", "x", multiprocess_mode="max").set(os.getpid())
    Gauge("now", "x", multiprocess_mode="livesum").set(1)


def numbers(folder: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All that is counted."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in shared_metrics.collect(folder)
        for sample in metric.samples
        if sample.name != "now"
    }


def crash(folder: Path) -> int:
    """How many steps it takes to add up; whichever is the last, nothing is lost or counted twice."""
    expected = numbers(folder)
    step = 0
    while True:
        copy = folder.with_name(f"{folder.name}-{step}")
        shutil.copytree(folder, copy)
        ended = _fold_in_child(copy, step)
        for _ in range(2):
            assert numbers(copy) == expected, f"after step {step}"
            shared_metrics.fold(copy)
        left = sorted(path.name.partition("-")[0] for path in copy.iterdir())
        assert left == ["total"], f"{left} are left after step {step}"
        shutil.rmtree(copy)
        if ended:
            return step
        step += 1


def _fold_in_child(folder: Path, step: int) -> bool:
    """Whether it came to its end before this step."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    left = step

    def on_event(name: str, _: object) -> None:
        nonlocal left
        if name.startswith(STEPS):
            if not left:
                os._exit(1)
            left -= 1

    sys.addaudithook(on_event)
    shared_metrics.fold(folder)
    os._exit(0)


if __name__ == "__main__":
    what, place = sys.argv[1:]
    print({"count": count, "crash": crash}[what](Path(place)))
