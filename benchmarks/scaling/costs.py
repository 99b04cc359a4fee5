"""What one request, one pod and one scrape cost, measured on this machine.

In: a published model version. Out: `Costs`, which a JSON file can keep. One worker is asked by wrk on the same cores,
directly and through each edge with its shipped configuration.
"""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx

from benchmarks.serving import bodies
from benchmarks.serving.load import Load, drive
from benchmarks.serving.processes import cpu_seconds, free_port
from tests.support.edges import PROGRAMS, running_edge
from tests.support.processes import children
from tests.support.service import MODELS, VERSION, running_service
from training import data

if TYPE_CHECKING:
    from benchmarks.serving.bodies import Body
    from tests.support.service import Service

SCRAPES = 20
KEPT = Load(64)
SELDOM = Load(64, rate=500)
CHECKS = (2_000, 4_000, 8_000)  # requests/s


class Check(NamedTuple):
    """What one pod did at a constant rate, which wrk shared the cores with."""

    rate: float  # requests/s that were answered
    busy: float  # share of a core
    p50: float  # seconds
    p99: float


@dataclass(frozen=True)
class Costs:
    """Of a request with one PNG of 28x28, in seconds of CPU and in bytes; and of a pod with one worker."""

    request: float  # of a pod that is busy: 64 connections
    lone_request: float  # of a pod that has much time: `SELDOM`
    runs: dict[int, float]  # of the model, by the number of pictures
    edges: dict[str, float]  # by the name of a proxy, with TLS, kept connections
    handshakes: dict[str, float]  # a new TLS connection, by the name of a proxy
    sent: int  # bytes of a request, without TLS
    received: int  # bytes of its response
    series: int  # of a scrape
    scrape_bytes: int
    scrape: float
    log_line: int  # bytes of a line of the access log
    start: float  # seconds from exec until ready
    model: int  # bytes of the version's files
    checks: list[Check]  # of the simulation

    @classmethod
    def read(cls, path: Path) -> Costs:
        """Read what `write` has written."""
        found = json.loads(path.read_text())
        runs = {int(size): seconds for size, seconds in found["runs"].items()}
        return cls(**found | {"runs": runs, "checks": [Check(*each) for each in found["checks"]]})

    def write(self, path: Path) -> None:
        """Keep them in a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def measure(seconds: int) -> Costs:
    """Measure all of them, with loads of so many seconds."""
    body = bodies.picture(data.load(None).test.images.numpy()[:1, 0])
    metrics_port = free_port()
    began = time.perf_counter()
    with running_service(metrics_port=metrics_port) as service:
        start = time.perf_counter() - began
        url, pid = f"{service.url}/predict", [service.process.pid]
        request = _each(url, body, KEPT, seconds, pid)
        lone_request = _each(url, body, SELDOM, seconds, pid)
        checks = [_check(url, body, Load(64, rate=rate), seconds, pid) for rate in CHECKS]
        text, scrape = _scrape(f"http://127.0.0.1:{metrics_port}/metrics", pid)
        edges, handshakes = {}, {}
        for name in (name for name, program in PROGRAMS.items() if program):
            edges[name], handshakes[name] = _edge(name, service, body, seconds)
        answer = httpx.post(url, content=body.content, headers=body.headers)
    return Costs(
        request,
        lone_request,
        {int(size): float(cost) for size, cost in re.findall(r'mnist_batch_cost_seconds\{size="(\d+)"\} (\S+)', text)},
        edges,
        handshakes,
        len(body.content) + sum(len(name) + len(value) + 4 for name, value in answer.request.headers.items()),
        len(answer.content) + sum(len(name) + len(value) + 4 for name, value in answer.headers.items()),
        sum(not line.startswith("#") for line in text.splitlines()),
        len(text),
        scrape,
        _log_line(body),
        start,
        sum(path.stat().st_size for path in (MODELS / VERSION).iterdir()),
        checks,
    )


def _each(url: str, body: Body, load: Load, seconds: int, pids: list[int]) -> float:
    """CPU seconds of these processes for each request: the median of three loads."""
    found = []
    for _ in range(3):
        before = sum(map(cpu_seconds, pids))
        done = drive(url, body, load, seconds)
        assert not done.failed, f"{done.failed} requests failed"
        found.append((sum(map(cpu_seconds, pids)) - before) / (done.per_second * seconds))
    return statistics.median(found)


def _check(url: str, body: Body, load: Load, seconds: int, pids: list[int]) -> Check:
    before = sum(map(cpu_seconds, pids))
    done = drive(url, body, load, seconds)
    busy = (sum(map(cpu_seconds, pids)) - before) / seconds
    return Check(done.per_second, busy, done.p50_ms / 1000, done.p99_ms / 1000)


def _edge(name: str, service: Service, body: Body, seconds: int) -> tuple[float, float]:
    """CPU seconds of a proxy for a request on a kept connection, and for a new connection with TLS."""
    with running_edge(name, [service.url]) as edge:
        time.sleep(2)  # HAProxy and Envoy ask for health first
        pids = [edge.process.pid, *children(edge.process.pid)]
        url = f"{edge.url}/predict"
        kept = _each(url, body, KEPT, seconds, pids)
        closing = body._replace(headers=body.headers | {"Connection": "close"})
        return kept, _each(url, closing, Load(8), seconds, pids) - kept


def _scrape(url: str, pids: list[int]) -> tuple[str, float]:
    """The text of a scrape, and its CPU seconds."""
    before = sum(map(cpu_seconds, pids))
    for _ in range(SCRAPES):
        text = httpx.get(url).raise_for_status().text
    return text, (sum(map(cpu_seconds, pids)) - before) / SCRAPES


def _log_line(body: Body) -> int:
    """The bytes of a line that the service writes for a request."""
    port = free_port()
    command = ["sh", "-c", f'exec "$@" 2>{(log := Path(f"/tmp/scaling-{port}"))}', "sh"]  # noqa: S108
    with running_service(under=command, access_log=1) as service:
        httpx.post(f"{service.url}/predict", content=body.content, headers=body.headers).raise_for_status()
    lines = [line for line in log.read_bytes().splitlines() if b"/predict" in line]
    log.unlink()
    return len(lines[-1])


def machine() -> str:
    """The processor, and how many cores of it there are."""
    found = subprocess.run(["lscpu"], capture_output=True, text=True, check=True).stdout
    return ", ".join(
        re.sub(r"\s+", " ", line.partition(":")[2]).strip()
        for line in found.splitlines()
        if line.startswith(("Model name", "CPU(s):"))
    )
