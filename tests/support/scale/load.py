"""Requests at a rate that waits for nobody, from a process of its own, each with what came of it.

In: an edge's address, a request, and a rate that may change. Out: when each request was due, its status, and the
seconds until it was answered. Connections are kept; one that the edge has closed is not used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import pickle
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvloop

from benchmarks.overload import Asked, Clients

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP = 0.05  # seconds between two looks at the rate, where there is none
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Load:
    """Requests under way; `asked` is filled when it ends."""

    _rate: Any  # requests/s, shared with the process
    asked: list[Asked]

    def set_rate(self, per_second: float) -> None:
        """Ask so often from now on."""
        self._rate.value = per_second


class Outcome:
    """What became of the requests of a time."""

    def __init__(self, asked: list[Asked]) -> None:
        self.requests = len(asked)
        self.broken = sum(each.status == 0 for each in asked)  # without a whole response
        self.failed = sum(each.status >= 500 for each in asked)
        self.other = sum(200 < each.status < 500 for each in asked)
        answered = [each.seconds for each in asked if each.status == 200]
        self.p50, self.p99, self.slowest = map(float, np.percentile(answered or [0.0], [50, 99, 100]))  # seconds

    @property
    def lost(self) -> int:
        """Requests whose client got no response, or 5xx."""
        return self.broken + self.failed


@contextlib.contextmanager
def running_load(url: str, certificate: Path, request: bytes, per_second: float) -> Iterator[Load]:
    """Ask until the context ends; then `asked` has every request."""
    rate = SPAWN.Value("d", per_second)
    with tempfile.NamedTemporaryFile() as file:
        process = SPAWN.Process(target=_run, args=(url, certificate, request, rate, file.name))
        process.start()
        load = Load(rate, [])
        try:
            yield load
        finally:
            rate.value = -1.0
            process.join()
        assert process.exitcode == 0, "the load has failed"
        load.asked += [Asked(*each) for each in pickle.loads(Path(file.name).read_bytes())]  # noqa: S301 - ours


def _run(url: str, certificate: Path, request: bytes, rate: Any, path: str) -> None:
    asked = uvloop.run(_ask(url, certificate, request, rate))
    Path(path).write_bytes(pickle.dumps([tuple(each) for each in asked]))


async def _ask(url: str, certificate: Path, request: bytes, rate: Any) -> list[Asked]:
    clients = Clients(url, ssl.create_default_context(cafile=str(certificate)))
    due = time.perf_counter()
    tasks = []
    while (per_second := rate.value) >= 0:
        if per_second == 0:
            await asyncio.sleep(STEP)
            due = time.perf_counter()
            continue
        due += 1 / per_second
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        tasks.append(asyncio.ensure_future(clients.ask(request, due)))
    return list(await asyncio.gather(*tasks))
