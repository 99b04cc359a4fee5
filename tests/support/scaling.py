"""How a reader's time and memory grow with what it reads, for inputs of any shape that a generator makes.

In: something that reads, and something that makes an input of a size. Out: CPU time and peak memory at each size, and
the exponent of the time over the size. Each input is read in a fresh process, so that no reading sees another's memory.
A refusal is a good end of a reading.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from service.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MEBIBYTE = 2**20
# All of them take minutes: SCALING=all, as `make fuzz` has it.
ALL = os.environ.get("SCALING") == "all"
SIZES = tuple(size * MEBIBYTE for size in ((1, 2, 4, 8, 16, 32) if ALL else (1, 4, 16)))
SECONDS = 0.02  # what takes less is too short to be compared
STEEPEST = 1.3


class Cost(NamedTuple):
    """Of one reading."""

    seconds: float  # of CPU time, the least of three
    memory: int  # bytes at the peak, above those before it


@dataclass(frozen=True)
class Repeated:
    """Makes an input of one unit again and again, between a start and an end."""

    unit: bytes
    start: bytes = b""
    end: bytes = b""

    def __call__(self, size: int) -> bytes:
        """About so many bytes."""
        return self.start + self.unit * max(1, (size - len(self.start) - len(self.end)) // len(self.unit)) + self.end


def cost(read: Callable[[Any], object], make: Callable[[int], Any], size: int) -> Cost:
    """What it costs to read an input of this size, in a process of its own."""
    return _processes().submit(_cost, read, make, size).result()


def exponent(costs: Mapping[int, float]) -> float:
    """How the seconds grow with the size: 1 is linear, 2 quadratic; 0 where too few of them can be compared."""
    points = [(math.log(size), math.log(seconds)) for size, seconds in costs.items() if seconds > SECONDS]
    if len(points) < 2:
        return 0.0
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return float(slope)


def check(
    read: Callable[[Any], object],
    make: Callable[[int], Any],
    *,
    memory: float,
    sizes: Iterable[int] = SIZES,
) -> None:
    """Assert that reading is linear, and takes no more than `memory` bytes for each that is read."""
    costs = {size: cost(read, make, size) for size in sizes}
    assert exponent({size: found.seconds for size, found in costs.items()}) <= STEEPEST, costs
    for size, found in costs.items():
        assert found.memory <= memory * size + 4 * MEBIBYTE, costs


@cache
def _processes() -> ProcessPoolExecutor:
    """One process at a time, each for one reading, forked from one that knows the service."""
    context = multiprocessing.get_context("forkserver")
    readers = ("picture.prepare", "picture.others", "codec.body", "codec.v2_json")
    context.set_forkserver_preload(["tests.support.scaling", *(f"service.{reader}" for reader in readers)])
    return ProcessPoolExecutor(1, context, max_tasks_per_child=1)


def _cost(read: Callable[[Any], object], make: Callable[[int], Any], size: int) -> Cost:
    made, times = make(size), []
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _resident("VmRSS")
    for _ in range(3):
        began = time.process_time()
        with contextlib.suppress(ServiceError):
            read(made)
        times.append(time.process_time() - began)
    return Cost(min(times), _resident("VmHWM") - before)


def _resident(which: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{which}:")[2].split()[0]) * 1024
