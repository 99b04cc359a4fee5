"""`python -m benchmarks.turns . OLDER`: this service beside itself, as it was in other checkouts, under the same loads.

In: checkouts. Out: a row for each load: the requests per second of each checkout, and the first one's rate over the
last one's. Every service has one worker. Each load is put on one service after the other, in several turns, so that
what the machine does meanwhile is the same for all; the medians count.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.servers import MODEL, ours
from benchmarks.serving import bodies
from benchmarks.serving.load import Load, drive
from benchmarks.serving.visit import Digits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.serving.bodies import Body, Pixels

LOADS: dict[str, tuple[Callable[[Pixels], Body], int]] = {  # a body, and connections
    "784 bytes, 1 connection": (bodies.octets, 1),
    "784 bytes, 16 connections": (bodies.octets, 16),
    "784 bytes, 64 connections": (bodies.octets, 64),
    "a PNG, 64 connections": (bodies.picture, 64),
    "64 x 784 bytes, 1 connection": (bodies.many_octets, 1),
    "64 x 784 bytes, 16 connections": (bodies.many_octets, 16),
    "64 PNGs, 16 connections": (bodies.pictures, 16),
}


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turns")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a checkout")
    parser.add_argument("--only", default="", help="loads whose name has this in it")
    parser.add_argument("--seconds", type=int, default=2, help="of each load, in each of its turns")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args(words)
    images = Digits.of(MODEL).images
    print(f"| requests/s | {' | '.join(map(str, options.folders))} | ratio |")
    print(f"| --- | {'---: | ' * len(options.folders)}---: |")
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(ours(MODEL, 1, folder)) for folder in options.folders]
        for name, (make, connections) in LOADS.items():
            if options.only in name:
                rates: list[list[float]] = [[] for _ in servers]
                for _ in range(options.turns):
                    for server, found in zip(servers, rates, strict=True):
                        load = drive(f"{server.url}/predict", make(images), Load(connections), options.seconds)
                        found.append(load.per_second)
                medians = list(map(statistics.median, rates))
                cells = " | ".join(f"{rate:,.0f}" for rate in medians)
                print(f"| {name} | {cells} | {medians[0] / medians[-1]:.2f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
