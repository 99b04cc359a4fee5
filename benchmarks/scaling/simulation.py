"""Pods as queues: how long requests wait, by utilisation, by the number of pods, and by who chooses the pod.

In: measured costs of a turn of a pod's event loop. Out: the times that requests take in their pod. Requests come at
random (Poisson). A pod takes all that wait for it in one turn, as the batcher does, and answers them at the turn's end.
It knows no network and no machine.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from benchmarks.scaling.costs import Costs

MAX_BATCH = 64  # pictures of a run
PRIME = 7919  # a step through equal pods that has no pattern of its own
WARM_UP = 0.2  # of the requests, which do not count


@dataclass(frozen=True)
class Turn:
    """The seconds of a turn: a part for the turn itself, one for each request, and runs of the model."""

    overhead: float
    each: float
    runs: tuple[float, ...]  # by the number of pictures, up to MAX_BATCH

    @classmethod
    def of(cls, costs: Costs) -> Turn:
        """Fit to what a lone request costs, and what one of `MAX_BATCH` does."""
        sizes = [0, *costs.runs]
        runs = np.interp(range(MAX_BATCH + 1), sizes, [0.0, *costs.runs.values()]).tolist()
        # overhead + each + runs[1] = lone, and overhead + MAX_BATCH * each + runs[-1] = MAX_BATCH * request
        each = (MAX_BATCH * costs.request - runs[-1] - costs.lone_request + runs[1]) / (MAX_BATCH - 1)
        return cls(costs.lone_request - each - runs[1], each, tuple(runs))

    def seconds(self, requests: int) -> float:
        """Of a turn with so many requests."""
        full, rest = divmod(requests, MAX_BATCH)
        return self.overhead + requests * self.each + full * self.runs[-1] + self.runs[rest]

    @property
    def capacity(self) -> float:
        """Requests per second of a pod that always has `MAX_BATCH` waiting."""
        return MAX_BATCH / self.seconds(MAX_BATCH)


class Waits(NamedTuple):
    """Seconds from a request's arrival at its pod until its response; and how busy the pods were."""

    p50: float
    p99: float
    busy: float  # share of the time


class Pods:
    """The state of all pods: requests that wait, and the turn under way of each."""

    def __init__(self, count: int, turn: Turn) -> None:
        self._turn = turn
        self._waiting: list[list[tuple[float, int]]] = [[] for _ in range(count)]  # when, through which proxy
        self._running: list[list[tuple[float, int]]] = [[] for _ in range(count)]
        self._ends: list[tuple[float, int]] = []  # of turns, with their pod
        self.taken: list[float] = []  # seconds of each request, in the order of their ends
        self.busy = 0.0  # seconds, of all pods

    def add(self, now: float, pod: int, proxy: int) -> None:
        """A request comes to a pod; an idle one begins a turn."""
        self._waiting[pod].append((now, proxy))
        if not self._running[pod]:
            self._begin(now, pod)

    def advance(self, now: float, on_end: Callable[[int, int], None]) -> None:
        """End the turns that end until now; `on_end` is told the pod and the proxy of each request."""
        while self._ends and self._ends[0][0] <= now:
            end, pod = heapq.heappop(self._ends)
            for came, proxy in self._running[pod]:
                self.taken.append(end - came)
                on_end(pod, proxy)
            self._running[pod] = []
            if self._waiting[pod]:
                self._begin(end, pod)

    def _begin(self, now: float, pod: int) -> None:
        self._running[pod], self._waiting[pod] = self._waiting[pod], []
        seconds = self._turn.seconds(len(self._running[pod]))
        self.busy += seconds
        heapq.heappush(self._ends, (now + seconds, pod))


def _least(open_requests: NDArray[np.int32], number: int) -> int:
    """A pod with the fewest: of equal ones another each time."""
    equal = np.flatnonzero(open_requests == open_requests.min())
    return int(equal[number * PRIME % len(equal)])


def simulate(turn: Turn, pods: int, load: float, *, proxies: int, requests: int) -> Waits:
    """Send requests at `load` times the pods' capacity.

    Each of the `proxies` gives a request to the pod that has the fewest of its own, of equal ones to any; without
    proxies, chance decides, as in a Kubernetes Service.
    """
    random = np.random.default_rng(0)
    times = np.cumsum(random.exponential(1 / (load * pods * turn.capacity), requests)).tolist()
    chosen = random.integers(0, proxies or pods, requests).tolist()
    state = Pods(pods, turn)
    open_requests = np.zeros((max(proxies, 1), pods), np.int32)

    def on_end(pod: int, proxy: int) -> None:
        open_requests[proxy, pod] -= 1

    for number, (now, choice) in enumerate(zip(times, chosen, strict=True)):
        state.advance(now, on_end)
        proxy = choice if proxies else 0
        pod = _least(open_requests[proxy], number) if proxies else choice
        open_requests[proxy, pod] += 1
        state.add(now, pod, proxy)
    busy = state.busy / times[-1] / pods
    state.advance(math.inf, on_end)
    counted = state.taken[int(requests * WARM_UP) :]
    p50, p99 = map(float, np.percentile(counted, [50, 99]))
    return Waits(p50, p99, busy)
