"""A deployment behind an edge under load: what is done to it, what became of its requests, and its autoscaler.

In: pods, an edge and a load that run. Out: the outcome of each disturbance. The autoscaler's loop reads the metrics
that the pods export.
"""

from __future__ import annotations

import itertools
import re
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.serving.bodies import Body
from service.picture import prepare
from tests.support.pictures import SEVEN
from tests.support.scale.autoscaler import Autoscaler
from tests.support.scale.load import Outcome
from tests.support.scale.pods import KUBERNETES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.support.edges import Edge
    from tests.support.scale.autoscaler import Rule
    from tests.support.scale.load import Load
    from tests.support.scale.pods import Deployment, Pod

SCALED_OBJECT = KUBERNETES / "overlays" / "autoscale-on-wait" / "scaledobject.yaml"
FAILED = re.compile(r'"status":5| (?:-1|5\d\d) \d+ - - |" 5\d\d ')  # in the logs of nginx, HAProxy and Envoy
SCRAPES = 4  # in a window of the query of a minute: one in 15 s
QUEUE, USED = "mnist_stage_duration_seconds", "mnist_process_cpu_seconds_total"
OBJECTIVE = 0.050  # seconds, of the p99
HEAD = (
    "disturbance                            times  requests  lost                     4xx   p50 ms   p99 ms   slowest"
)


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
        """Do it so often, with a second of rest after each, and one for the requests under way at the end."""
        began = time.perf_counter()
        for _ in range(times):
            disturbance()
            time.sleep(1)
        self.windows.append(Window(name, times, began, time.perf_counter(), kills))
        time.sleep(1)

    def read_errors(self) -> None:
        """Keep what the edge's log says of 5xx: the log ends with the edge."""
        self.errors = [line for line in self.edge.log.read_text(errors="replace").splitlines() if FAILED.search(line)]

    def outcome(self, name: str) -> Outcome:
        """What became of the requests of a disturbance, once the load has ended."""
        (window,) = (window for window in self.windows if window.name == name)
        return Outcome([each for each in self.load.asked if window.began <= each.due < window.ended])

    def report(self) -> int:
        """Print what became of the requests of each disturbance; return how many were lost that need not be."""
        print(HEAD)
        lost = 0
        for window in self.windows:
            found = self.outcome(window.name)
            lost += 0 if window.kills else found.lost + found.other
            print(
                f"{window.name:40} {window.times:3} {found.requests:9,} {found.lost:5} "
                f"({found.broken} broken, {found.failed} 5xx) {found.other:3} "
                f"{found.p50 * 1e3:8.1f} {found.p99 * 1e3:8.1f} {found.slowest * 1e3:9.1f}"
                f"{'  p99 over the objective' * (found.p99 > OBJECTIVE)}"
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


class Waits(NamedTuple):
    """What a pod has counted since its start."""

    seconds: float
    requests: float


class Scaler:
    """The loop of the autoscaler: scrapes, polls and changes of the number of pods."""

    def __init__(self, model: Model, rule: Rule, most: int) -> None:
        self._deployment = model.deployment
        self._rule = rule
        self._most = most
        self._autoscaler = Autoscaler(rule)
        self._scrapes: deque[dict[int, Waits]] = deque(maxlen=SCRAPES)  # of the window, by the pods' ports
        self._polled = time.monotonic()
        self._used = self._cpu_seconds()

    def follow(self, seconds: float) -> list[int]:
        """Scrape and poll for so long; return the number of pods after each poll."""
        pods, end = [], time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            self._scrapes.append({pod.port: _waits(pod) for pod in self._deployment.pods if pod.ready})
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
        values = {"prometheus": 1000 * mean_wait(self._scrapes), "cpu": percent}
        wanted = min(self._most, self._autoscaler.replicas(now, len(deployment.pods), values))
        for _ in range(wanted - len(deployment.pods)):
            deployment.start()
        for pod in deployment.pods[wanted:]:
            deployment.end(pod)
        return wanted

    def _cpu_seconds(self) -> dict[int, float]:
        """Of each pod, by its port."""
        return {pod.port: pod.metric(USED) for pod in self._deployment.pods if pod.ready}


def mean_wait(scrapes: Iterable[Mapping[int, Waits]]) -> float:
    """Return the seconds that a request has waited for the model in the mean, as the query computes it: 0 for none.

    `scrapes` have the counts of each pod by its port. Where a pod's decrease, another one has started there.
    """
    seconds = requests = 0.0
    for before, after in itertools.pairwise(scrapes):
        for port, waits in after.items():
            since = before.get(port, waits)
            if since.requests > waits.requests:
                since = Waits(0.0, 0.0)
            seconds += waits.seconds - since.seconds
            requests += waits.requests - since.requests
    return seconds / requests if requests else 0.0


def _waits(pod: Pod) -> Waits:
    return Waits(*(pod.metric(f'{QUEUE}_{part}{{stage="queue"}}') for part in ("sum", "count")))
