"""`python -m qa.scale` runs pods behind an edge under load, disturbs them as a cluster does, and prints one table.

In: how many pods, of what size, behind which edge. Out: for each disturbance the requests, those that were lost, and
the latency; and how throughput grows with the number of pods. A request is lost if its client gets no whole response,
or 5xx. Exit code 1 if anything was lost that need not be: only a pod that is killed may take with it what it was
answering.

    python -m qa.scale --edge haproxy --speed 1        with the times of the manifests as they are
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import re
import statistics
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.serving.bodies import Body
from benchmarks.serving.load import Load as Connections
from benchmarks.serving.load import drive
from qa.scale.autoscaler import Autoscaler, Rule
from qa.scale.load import Load, Outcome, running_load
from qa.scale.pods import KUBERNETES, Deployment, can_limit, running_deployment
from service.picture import prepare
from tests.support.edges import PROGRAMS, running_edge
from tests.support.pictures import SEVEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.edges import Edge

SCALED_OBJECT = KUBERNETES / "overlays" / "autoscale-on-wait" / "scaledobject.yaml"
FAILED = re.compile(r'"status":5| 5\d\d \d+ - - |" 5\d\d ')  # in the logs of nginx, HAProxy and Envoy
FOLLOW_SECONDS = 0.1  # until nginx hears of a pod
SCRAPES = 12  # in a window of the query: one in 5 s, as deploy/prometheus has it
WAIT, USED = "mnist_predicted_wait_seconds", "process_cpu_seconds_total"
HEAD = (
    "disturbance                            times  requests  lost                     4xx   p50 ms   p99 ms   slowest"
)
# nginx: what was sent to a service that broke the connection is sent to another. A prediction changes nothing.
RESEND = {"proxy_next_upstream error timeout;": "proxy_next_upstream error timeout non_idempotent;"}


class Window(NamedTuple):
    """A disturbance: when it was, how often, and whether it may lose requests."""

    name: str
    times: int
    began: float  # seconds, perf_counter
    ended: float
    kills: bool = False


@dataclass
class Model:
    """A deployment behind an edge under load, and what has been done to it."""

    deployment: Deployment
    edge: Edge
    load: Load
    windows: list[Window]
    errors: list[str] = field(default_factory=list)  # what the edge logged of 5xx

    def disturb(self, name: str, times: int, disturbance: Callable[[], object], *, kills: bool = False) -> None:
        """Do it so often, with a second of rest after each."""
        began = time.perf_counter()
        for _ in range(times):
            disturbance()
            time.sleep(1)
        self.windows.append(Window(name, times, began, time.perf_counter(), kills))

    def report(self) -> int:
        """Print what became of the requests of each disturbance; return how many were lost that need not be."""
        print(HEAD)
        lost = 0
        for window in self.windows:
            found = Outcome([each for each in self.load.asked if window.began <= each.due < window.ended])
            lost += 0 if window.kills else found.lost + found.other
            print(
                f"{window.name:40} {window.times:3} {found.requests:9,} {found.lost:5} "
                f"({found.broken} broken, {found.failed} 5xx) {found.other:3} "
                f"{found.p50 * 1e3:8.1f} {found.p99 * 1e3:8.1f} {found.slowest * 1e3:9.1f}"
            )
        for line in self.errors[:10]:
            print(f"  {line[:300]}")
        print(flush=True)
        return lost


def request_of(pictures: int) -> tuple[Body, bytes]:
    """So many sevens in one request: as wrk takes it, and as bytes of HTTP."""
    body = prepare.read(SEVEN, max_pixels=10**6).pixels.tobytes() * pictures
    kind = "application/octet-stream"
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return Body({"Content-Type": kind}, body), head.encode() + body


@contextlib.contextmanager
def following(deployment: Deployment, edge: Edge, options: argparse.Namespace) -> Iterator[None]:
    """Let nginx have the pods that are ready, and no other; HAProxy and Envoy ask the pods themselves."""
    over = threading.Event()

    def follow() -> None:
        known: list[str] = []
        while not over.wait(FOLLOW_SECONDS):
            if (now := sorted(deployment.endpoints)) not in ([], known):
                edge.reload(now)
                known = now

    thread = threading.Thread(target=follow)
    if options.edge == "nginx" and not options.fixed:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident:
            thread.join()


@contextlib.contextmanager
def running_model(options: argparse.Namespace, replicas: int, per_second: float) -> Iterator[Model]:
    """Pods, the edge and the load; the load ends first, and then its outcome is known."""
    with running_deployment(replicas, options.most, speed=options.speed, cores=options.cores) as deployment:
        changes = RESEND if options.resend else {}
        with running_edge(options.edge, deployment.urls, changes=changes) as edge, following(deployment, edge, options):
            time.sleep(2)  # HAProxy and Envoy have asked for health
            _, request = request_of(options.pictures)
            with running_load(edge.url, edge.certificate, request, per_second) as load:
                model = Model(deployment, edge, load, [])
                time.sleep(2)  # the load's process starts
                yield model
            model.errors = [line for line in edge.log.read_text(errors="replace").splitlines() if FAILED.search(line)]


def disturbances(options: argparse.Namespace) -> Model:
    """Kill, drain and roll the pods under a constant load."""
    with running_model(options, options.pods, options.rate) as model:
        pods = model.deployment
        model.disturb("none", options.times, lambda: time.sleep(1))
        model.disturb("a pod drained, then another started", options.times, lambda: pods.drain(pods.pods[0]))
        model.disturb("all pods rolled, one by one", max(1, options.times // 3), pods.roll)
        if options.edge == "nginx":
            model.disturb("nginx reloaded", options.times, lambda: model.edge.reload(pods.endpoints))
        model.disturb("a pod killed", options.times, lambda: pods.kill(pods.pods[0]), kills=True)
    return model


def autoscaling(options: argparse.Namespace) -> Model:
    """Let the rule choose the number of pods under a load that rises and falls."""
    rule = Rule.read(SCALED_OBJECT, options.speed)
    minute = 60 / options.speed
    with running_model(options, rule.least, options.rate) as model:
        scaler = Scaler(model, rule, min(rule.most, options.most))
        rising = [1 + (options.peak - 1) * step / 4 for step in (1, 2, 3)]
        for name, factors, minutes in (
            ("low", [1], 1),
            ("rises", rising, 1),
            ("high", [options.peak], 3),
            ("low", [1], 8),
        ):
            began = time.perf_counter()
            pods = [len(model.deployment.pods)]
            for factor in factors:
                model.load.set_rate(options.rate * factor)
                pods += scaler.follow(minutes * minute)
            steps = "-".join(str(number) for number, _ in itertools.groupby(pods))
            model.windows.append(Window(f"load {name}: {steps} pods", 1, began, time.perf_counter()))
    return model


class Scaler:
    """The loop of the autoscaler: scrapes, polls and changes of the number of pods."""

    def __init__(self, model: Model, rule: Rule, most: int) -> None:
        self._deployment = model.deployment
        self._rule = rule
        self._most = most
        self._autoscaler = Autoscaler(rule)
        self._waits: deque[float] = deque(maxlen=SCRAPES)  # ms, the mean over pods at each scrape of the window
        self._polled = time.monotonic()
        self._used = self._cpu_seconds()

    def follow(self, seconds: float) -> list[int]:
        """Scrape and poll for so long; return the number of pods after each poll."""
        pods, end = [], time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            ready = [pod for pod in self._deployment.pods if pod.ready]
            self._waits.append(1000 * statistics.fmean(pod.metric(WAIT) for pod in ready))
            if now >= self._polled + self._rule.poll:
                pods.append(self._poll(now))
            time.sleep(max(0.0, now + self._rule.window / SCRAPES - time.monotonic()))
        return pods

    def _poll(self, now: float) -> int:
        deployment = self._deployment
        before, self._used = self._used, self._cpu_seconds()
        shares = [(used - before[port]) / (now - self._polled) for port, used in self._used.items() if port in before]
        self._polled = now
        percent = 100 * statistics.fmean(shares or [0.0]) / (deployment.cores or 1)
        values = {"prometheus": statistics.fmean(self._waits), "cpu": percent}
        wanted = min(self._most, self._autoscaler.replicas(now, len(deployment.pods), values))
        for _ in range(wanted - len(deployment.pods)):
            deployment.start()
        for pod in deployment.pods[wanted:]:
            deployment.end(pod)
        return wanted

    def _cpu_seconds(self) -> dict[int, float]:
        """Of each pod, by its port."""
        return {pod.port: pod.metric(USED) for pod in self._deployment.pods if pod.ready}


def throughput(options: argparse.Namespace) -> list[str]:
    """Requests per second by the number of pods: 64 connections that each ask again when they are answered."""
    body, _ = request_of(options.pictures)
    lines = ["pods  requests/s  of one pod's   p50 ms   p99 ms  failed"]
    with running_deployment(1, options.most, speed=options.speed, cores=options.cores) as deployment:
        first = 0.0
        for pods in range(1, options.most + 1):
            deployment.scale(pods)
            with running_edge(options.edge, deployment.urls) as edge:
                time.sleep(2)
                if options.edge == "nginx":
                    edge.reload(deployment.endpoints)
                    time.sleep(1)
                done = drive(f"{edge.url}/predict", body, Connections(64), options.seconds)
            first = first or done.per_second
            lines.append(
                f"{pods:4} {done.per_second:11,.0f} {done.per_second / first:13.2f} "
                f"{done.p50_ms:8.1f} {done.p99_ms:8.1f} {done.failed:7.0f}"
            )
    return lines


def main(arguments: list[str]) -> int:
    """Run what is asked for; return the exit code."""
    options = _options(arguments)
    cores = f"{options.cores:g} cores each" if options.cores else "without a limit of CPU"
    print(f"pods {cores}; edge {options.edge}; {options.pictures} pictures a request; {options.rate:g} requests/s")
    print(f"{os.cpu_count()} cores, which the load and the edge use too; times of the manifests / {options.speed:g}\n")
    lost = 0
    if "disturb" in options.only:
        lost += disturbances(options).report()
    if "autoscale" in options.only:
        lost += autoscaling(options).report()
    if "throughput" in options.only:
        print("\n".join(throughput(options)))
    return int(lost > 0)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m qa.scale", description="A cluster on one machine, disturbed.")
    parser.add_argument("--edge", choices=[name for name, program in PROGRAMS.items() if program], default="nginx")
    parser.add_argument("--pods", type=int, default=3, help="at the beginning")
    parser.add_argument("--most", type=int, default=6, help="pods at most")
    parser.add_argument("--cores", type=float, default=0.1 if can_limit() else 0.0, help="of each pod; 0: no limit")
    parser.add_argument("--pictures", type=int, default=64, help="in each request, 784 bytes each")
    parser.add_argument("--rate", type=float, default=60.0, help="requests per second")
    parser.add_argument("--peak", type=float, default=5.0, help="times the rate, for the autoscaler")
    parser.add_argument("--speed", type=float, default=10.0, help="divides every time of the manifests")
    parser.add_argument("--times", type=int, default=6, help="each disturbance")
    parser.add_argument("--seconds", type=int, default=4, help="of load for each number of pods")
    parser.add_argument("--resend", action="store_true", help="nginx: send a request that was sent to another service")
    parser.add_argument("--fixed", action="store_true", help="nginx: every address is in its list, ready or not")
    parser.add_argument("--only", type=lambda text: text.split(","), default=["disturb", "autoscale", "throughput"])
    options = parser.parse_args(arguments)
    if options.speed > 1 and options.edge != "nginx":
        parser.error("HAProxy and Envoy ask for health once a second: --speed 1")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
