"""`python -m benchmarks.overload`: this service asked for several times of what it can do, and what becomes of it.

In: a published model version. Out: one table. One worker is asked with 64 digits a request: first by clients that wait
for each answer, which tells its capacity; then at fixed rates that wait for nobody: half of the capacity, three times
of it, and half of it again. Health is asked all the time. The clients share the cores with the service.

    python -m benchmarks.overload --times 0.7 --seconds 600     as busy as it may be, for long: latency and memory
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import uvloop

from benchmarks.servers import MODEL, SEVEN, ours
from service.picture import prepare

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from benchmarks.servers import Server

PICTURES = 64
CLIENTS = 16  # that wait for their answers
WARM_UP = 3.0  # seconds
IDLE = 2.0  # seconds after which a connection is not used again: the service closes it after five, maybe just then
HEALTH = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"


class Asked(NamedTuple):
    """One request: when it was due, and what came of it."""

    due: float  # seconds, perf_counter
    status: int  # 0: the connection broke
    seconds: float  # from when it was due until it was answered


class Clients:
    """Connections to one server, each with one request at a time; as many as are needed."""

    def __init__(self, url: str, context: ssl.SSLContext | None = None) -> None:
        """Over TLS with a context."""
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._context = context
        self._idle: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []  # since when, perf_counter

    async def ask(self, request: bytes, due: float) -> Asked:
        """Send a request that was due at this time, and read the answer."""
        try:
            reader, writer = await self._connection()
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError):
            return Asked(due, 0, time.perf_counter() - due)
        now = time.perf_counter()
        self._idle.append((now, reader, writer))
        return Asked(due, int(head[9:12]), now - due)

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            since, reader, writer = self._idle.pop()
            if time.perf_counter() - since < IDLE and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port, ssl=self._context)

    async def closed(self, request: bytes, seconds: float) -> list[Asked]:
        """What `CLIENTS` get that ask again when they are answered."""
        end = time.perf_counter() + seconds

        async def one() -> list[Asked]:
            found = []
            while (now := time.perf_counter()) < end:
                found.append(await self.ask(request, now))
            return found

        return [asked for found in await asyncio.gather(*(one() for _ in range(CLIENTS))) for asked in found]

    async def open(self, request: bytes, rate: float, seconds: float) -> list[Asked]:
        """What is answered to so many requests a second, whatever the answers before them take."""
        began = time.perf_counter()
        asked = []
        for number in range(int(rate * seconds)):
            due = began + number / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            asked.append(asyncio.ensure_future(self.ask(request, due)))
        return list(await asyncio.gather(*asked))


class Measured(NamedTuple):
    """What came of it all."""

    capacity: float  # requests per second
    phases: dict[str, list[Asked]]
    health: list[Asked]  # during the load
    memory: list[float]  # MiB, each second of the load


async def measure(server: Server, times: float, seconds: float) -> Measured:
    """Ask it: at its capacity, at half of it, at `times` it for so many seconds, and at half of it."""
    clients = Clients(server.url)
    digits = prepare.read(SEVEN, max_pixels=10**6).pixels.tobytes() * PICTURES
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: {len(digits)}"
    )
    request = f"{head}\r\n\r\n".encode() + digits
    await clients.closed(request, WARM_UP)
    capacity = len(await clients.closed(request, WARM_UP)) / WARM_UP
    phases = {"before": await clients.open(request, capacity / 2, WARM_UP * 2)}
    health = asyncio.ensure_future(_health(Clients(server.url)))
    memory = asyncio.ensure_future(_memory(server.pid))
    phases["load"] = await clients.open(request, capacity * times, seconds)
    health.cancel()
    memory.cancel()
    phases["after"] = await clients.open(request, capacity / 2, WARM_UP * 3)
    return Measured(capacity, phases, await health, await memory)


async def _health(clients: Clients) -> list[Asked]:
    found = []
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            found.append(await clients.ask(HEALTH, time.perf_counter()))
            await asyncio.sleep(0.1)
    return found


async def _memory(pid: int) -> list[float]:
    found = []
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            found.append(_resident(pid))
            await asyncio.sleep(1)
    return found


def _resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def table(times: float, measured: Measured) -> str:
    """What was measured, a line for each."""
    capacity, phases, health, memory = measured
    load = phases["load"]
    good, refused = ([a for a in load if a.status == status] for status in (200, 503))
    lasted = max(a.due + a.seconds for a in load) - min(a.due for a in load)
    rows = {
        "capacity, requests per second": f"{capacity:.0f}",
        "before: p99": f"{_p99(phases['before']):.1f} ms",
        f"load of {times:g} times the capacity: requests": f"{len(load):,}",
        "load: answered, share of the capacity": f"{len(good) / lasted / capacity:.0%}",
        "load: answered, p50 and p99": f"{_p50(good):.1f} and {_p99(good):.1f} ms",
        "load: refused, p50 and p99": f"{_p50(refused):.1f} and {_p99(refused):.1f} ms" if refused else "none",
        "load: requests that got neither 200 nor 503": f"{len(load) - len(good) - len(refused)}",
        "load: health, p99, and how many of it were 200": f"{_p99(health):.1f} ms, {_share(health):.0%}",
        "load: memory at its quarters": ", ".join(f"{mib:.1f}" for mib in _quarters(memory)) + " MiB",
        "after: p99 of each second": ", ".join(f"{_p99(part):.1f}" for part in _by_second(phases["after"])) + " ms",
    }
    return "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows.items())])


def _quarters(each: list[float]) -> list[float]:
    """At the end of each quarter."""
    return [each[number * (len(each) - 1) // 4] for number in range(1, 5)]


def _by_second(asked: list[Asked]) -> list[list[Asked]]:
    seconds: dict[int, list[Asked]] = {}
    for one in asked:
        seconds.setdefault(int(one.due - asked[0].due), []).append(one)
    return list(seconds.values())


def _share(asked: list[Asked]) -> float:
    return sum(one.status == 200 for one in asked) / max(1, len(asked))


def _p50(asked: list[Asked]) -> float:
    return statistics.median(one.seconds for one in asked) * 1000 if asked else 0.0


def _p99(asked: list[Asked]) -> float:
    return float(np.quantile([one.seconds for one in asked], 0.99)) * 1000 if asked else 0.0


def main(words: Sequence[str]) -> int:
    """Measure and print; 1 where a request got neither an answer nor a refusal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload")
    parser.add_argument("--model", type=Path, default=MODEL, help="a version's folder")
    parser.add_argument("--times", type=float, default=3.0, help="of the capacity")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the load")
    options = parser.parse_args(words)
    gc.disable()  # else it would look through all that was asked again and again, while requests are due
    with ours(options.model, 1) as server:
        measured = uvloop.run(measure(server, options.times, options.seconds))
    print(table(options.times, measured))
    return int(any(one.status not in {200, 503} for one in measured.phases["load"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
