"""`python -m qa.soak`: the faults of tests/service, many times over, with clients asking; prints one table.

In: how often. Out: for each fault how many requests were answered, how many were lost or wrong, and how long the
service took to be as it should be again, at worst. Exit code 1 if anything was lost that need not be: only a worker
that is killed may take with it what it was answering.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from benchmarks.attack_bodies import photograph
from benchmarks.serving.processes import free_port
from service.settings import load
from service.versions import choice
from tests.support.metrics import predictions, samples
from tests.support.processes import readers_of, worker_pids
from tests.support.proxies import running_proxy
from tests.support.service import MODELS, Service, running_service, until
from tests.support.slow import SORTS
from tests.support.traffic import Expected, Traffic
from training import data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAUSE_SECONDS = 2  # between the deaths of workers: one that begins is not ready at once
SLOW_SECONDS = 6  # of measuring beside slow clients: before the first of them is cut off


@dataclass
class Row:
    """One line of the table."""

    fault: str
    times: int = 0
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds until it is as it should be again

    def add(self, traffic: Traffic) -> None:
        """What this traffic saw."""
        self.answered += sum(traffic.answered.values())
        self.failures += traffic.failures

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """One more fault, until the service is as it should be."""
        began = time.monotonic()
        yield
        self.times += 1
        self.slowest = max(self.slowest, time.monotonic() - began)


def main(arguments: list[str]) -> int:
    """Runs every fault; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m qa.soak", description="Faults under load, many times over.")
    parser.add_argument("--swaps", type=int, default=100, help="changes of the version")
    parser.add_argument(
        "--stops",
        type=int,
        default=50,
        help="SIGTERMs, each to a service of its own; and behind nginx",
    )
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs of a worker, and replacements of all workers")
    parser.add_argument("--slow", type=int, metavar="N", help="only this: N slow connections of each sort, in turn")
    parser.add_argument("--flood", type=int, metavar="N", help="only this: N connections that ask for documents")
    asked = parser.parse_args(arguments)
    expected = Expected.of(data.load(None).test.images.numpy()[:2000, 0])
    if asked.slow:
        return slow(expected, asked.slow)
    if asked.flood:
        return flood(expected, asked.flood)
    rows = [
        swaps(expected, asked.swaps),
        stops(expected, asked.stops, 1),
        stops(expected, asked.stops, 2),
        *([restarts(expected, asked.stops)] if shutil.which("nginx") else []),
        hangups(expected, asked.kills),
        reader_kills(asked.kills),
        kills(expected, asked.kills),
    ]
    print("fault                          times  answered  lost or wrong  slowest")
    for row in rows:
        print(f"{row.fault:30} {row.times:5} {row.answered:9,} {len(row.failures):14} {row.slowest:6.2f} s")
        for failure in row.failures[:5]:
            print(f"  {failure}")
    return int(any(row.failures for row in rows[:-1]))


def swaps(expected: Expected, times: int) -> Row:
    """The pin chooses version 2 and 1 in turn; it has taken as long as the other one answered."""
    row = Row("another version, 2 workers")
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        shutil.copytree(MODELS, models)
        settings = load(["--model-dir", str(models)])
        with (
            running_service(model_dir=models, model_version="1", workers=2) as service,
            Traffic(service.url, expected) as traffic,
        ):
            for number in range(times):
                version = 2 - number % 2
                began = time.monotonic()
                choice.pin(settings, str(version))
                until(lambda: _served(service, version), f"version {version} is not served")  # noqa: B023
                row.times += 1
                row.slowest = max(row.slowest, traffic.latest.get(str(3 - version), began) - began)
            traffic.stop()
            row.add(traffic)
    return row


def _served(service: Service, version: int) -> bool:
    """Whether each worker serves it: of ten new connections one at least reaches each."""
    return all(httpx.get(f"{service.url}/model").json()["version"] == version for _ in range(10))


def stops(expected: Expected, times: int, workers: int) -> Row:
    """SIGTERM with clients asking, until it has ended."""
    row = Row(f"SIGTERM, {workers} worker{'s' * (workers > 1)}")
    for _ in range(times):
        with running_service(workers=workers) as service, Traffic(service.url, expected) as traffic:
            until(lambda: sum(traffic.answered.values()) > 50, "nothing is answered")
            with row.timed():
                service.process.send_signal(signal.SIGTERM)
                if (code := service.process.wait(60)) != 0:
                    row.failures.append(f"exit code {code}")
            traffic.wait_until_refused()
        row.add(traffic)
    return row


def restarts(expected: Expected, times: int) -> Row:
    """SIGTERM to one of two services behind nginx, which asks both, until it has ended; then another takes its port."""
    row = Row("SIGTERM behind nginx")
    port = free_port()
    with (
        running_service() as other,
        running_proxy("nginx", other.url, f"http://127.0.0.1:{port}") as url,
        Traffic(url, expected) as traffic,
    ):
        for _ in range(times):
            with running_service(port=port) as service:
                until(lambda: predictions(samples(f"{service.url}/metrics")) > 50, "nginx does not ask it")
                with row.timed():
                    if (code := service.stop()) != 0:
                        row.failures.append(f"exit code {code}")
        traffic.stop()
        row.add(traffic)
    return row


def hangups(expected: Expected, times: int) -> Row:
    """SIGHUP to the parent, until both workers are others."""

    def inject(service: Service) -> None:
        service.process.send_signal(signal.SIGHUP)

    return _on_workers(expected, times, "SIGHUP, 2 workers", inject, 2)


def kills(expected: Expected, times: int) -> Row:
    """SIGKILL to a worker, until another is in its place."""

    def inject(service: Service) -> None:
        os.kill(worker_pids(service)[0], signal.SIGKILL)

    return _on_workers(expected, times, "SIGKILL of 1 of 2 workers", inject, 1)


def reader_kills(times: int) -> Row:
    """SIGKILL to all readers, every second, while photographs are asked for: each gets its answer all the same."""
    row = Row("SIGKILL of readers each second")
    over = threading.Event()

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not over.is_set():
                answer = client.post("/predict", content=photograph())
                row.answered += 1
                if answer.status_code != 200 or answer.json()["predictions"][0]["digit"] != 7:
                    row.failures.append(answer.text[:200])

    with running_service(workers=2, max_wait_seconds=60) as service, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, service.url) for _ in range(4)]
        for _ in range(times):
            time.sleep(1)
            with row.timed():
                for reader in readers_of(service.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(reader, signal.SIGKILL)
                until(lambda: len(readers_of(service.process.pid)) >= 2, "the readers are not replaced")
        over.set()
        for one in asking:
            one.result()
    return row


def _on_workers(expected: Expected, times: int, fault: str, inject: Callable[[Service], None], others: int) -> Row:
    row = Row(fault)
    with running_service(workers=2) as service, Traffic(service.url, expected) as traffic:
        for _ in range(times):
            until(lambda: len(worker_pids(service)) == 2, "there are not two workers")
            before = set(worker_pids(service))
            with row.timed():
                inject(service)
                until(lambda: _replaced(service, before) == others, "the workers are not replaced")  # noqa: B023
            time.sleep(PAUSE_SECONDS)
        traffic.stop()
        row.add(traffic)
    return row


def _replaced(service: Service, before: set[int]) -> int:
    now = set(worker_pids(service))
    return len(now - before) if len(now) == 2 else 0


def slow(expected: Expected, count: int) -> int:
    """Good clients beside so many slow ones of each sort: their rate, alone and with them; and how long these live."""
    lost = 0
    print("slow clients               alone/s  beside/s  share   cut     of   latest  descriptors  lost or wrong")
    with running_service(workers=1) as service:
        base = _descriptors(service)
        for sort in SORTS:
            good, lived = _beside(
                service, expected, base + count // 2, "tests.support.slow", service.url, sort, str(count), "3"
            )
            until(lambda: _descriptors(service) <= base + 1, "descriptors do not come back")
            lost += len(good.failures)
            print(
                f"{sort:25} {good.rates} {len(lived):5} {count:6} "
                f"{max(lived):6.2f} s {base:5} → {_descriptors(service):3} {len(good.failures):10}",
                flush=True,
            )
    return int(lost > 0)


def flood(expected: Expected, count: int) -> int:
    """Good clients beside so many connections, or ten, that ask for documents: their rate, alone and with them."""
    lost = 0
    print("flood                alone/s  beside/s  share  slowest  answers to the flood      lost or wrong")
    with running_service(workers=1) as service:
        for connections, each in ((count, 17), (count, 1), (10, 17), (10, 1)):
            others = "tests.support.flood", service.url, str(connections), str(each), str(SLOW_SECONDS + 2)
            good, found = _beside(service, expected, connections // 2, *others)
            lost += len(good.failures)
            print(
                f"{connections:5} x {each:2} documents {good.rates} "
                f"{good.slowest * 1e3:5.0f} ms  {found!s:25} {len(good.failures):10}",
                flush=True,
            )
    return int(lost > 0)


class Good(NamedTuple):
    """What good clients got, alone and beside others."""

    alone: float  # answers a second
    beside: float
    slowest: float  # seconds that an answer took, beside the others
    failures: list[str]

    @property
    def rates(self) -> str:
        """As the tables have it."""
        return f"{self.alone:8.0f} {self.beside:9.0f} {self.beside / self.alone:6.1%}"


def _beside(service: Service, expected: Expected, there: int, module: str, *arguments: str) -> tuple[Good, Any]:
    """Good clients alone, and beside a module's, which tells in JSON what became of its own.

    These have a process of their own, and so take no time from those that are measured; they are there when the service
    has more descriptors than `there`.
    """
    alone, _, failures = _rate(service, expected)
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True) as others:
        until(lambda: _descriptors(service) > there, "they do not come")
        beside, slowest, more = _rate(service, expected)
        told = json.loads(others.communicate(timeout=60)[0])
    return Good(alone, beside, slowest, failures + more), told


def _rate(service: Service, expected: Expected) -> tuple[float, float, list[str]]:
    """Answers a second to good clients, how long the slowest took, and what was lost or wrong."""
    began = time.monotonic()
    with Traffic(service.url, expected, keeping=16, fresh=0) as traffic:
        time.sleep(SLOW_SECONDS)
        traffic.stop()
    return sum(traffic.answered.values()) / (time.monotonic() - began), traffic.slowest, traffic.failures


def _descriptors(service: Service) -> int:
    return len(os.listdir(f"/proc/{service.process.pid}/fd"))  # noqa: PTH208 - names alone


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
