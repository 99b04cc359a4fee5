"""`python -m benchmarks.scaling`: from one pod to a thousand, on paper, as tables of docs/scaling.md.

In: costs that are measured now, or those of a file. Out: how long requests wait, how many pods and how much of
everything else a rate needs, at which rate each part gives way, and what a million requests cost beside other servers.

    python -m benchmarks.scaling --measure runs/scaling.json      measures, and keeps what it has measured
    python -m benchmarks.scaling --costs runs/scaling.json        the tables alone
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.scaling.costs import Costs, machine, measure
from benchmarks.scaling.simulation import Turn, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
RATES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
TARGET = 0.6  # of the capacity: a third of the pods may fail, and 0.9 is left for the others
SCRAPE_SECONDS = 15
EDGE_CORES = 8  # of one machine with a proxy
MOST_PODS, MOST_PROXIES = 1_200, 64  # that are simulated
SAMPLED = 0.01  # share of requests with a line in the log
# Requests per second of two workers on two cores, which the load generator shared: docs/benchmarks.md, one PNG, 64
# connections; the most of the three loads.
SERVERS = {
    "this service": 32_564,
    "mosec": 9_497,
    "KServe's SDK": 2_420,
    "PyTriton, which is Triton": 2_089,
    "Ray Serve": 1_955,
    "a textbook FastAPI server": 1_505,
}
BENCHMARK_CORES = 2


class Limit(NamedTuple):
    """A part of the whole, and the rate at which one of it is full."""

    rate: float  # requests/s
    part: str
    measured: str
    assumed: str


def main(arguments: list[str]) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("--costs", type=Path, help="a file that --measure has written")
    parser.add_argument("--measure", type=Path, metavar="FILE", help="measure, and keep the costs in this file")
    parser.add_argument("--seconds", type=int, default=4, help="of each load of the measurement")
    parser.add_argument("--edge", default="nginx", help="the proxy that the tables count with")
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour, in any currency")
    parser.add_argument("--requests", type=int, default=100_000, help="of each simulation")
    options = parser.parse_args(arguments)
    if options.measure:
        measure(options.seconds).write(options.measure)
    if not (path := options.measure or options.costs):
        parser.error("--measure FILE or --costs FILE")
    costs = Costs.read(path)
    turn = Turn.of(costs)
    for title, table in (
        (f"measured on {machine()}", measured(costs, turn)),
        ("one pod at a rate, measured / simulated", checks(costs, turn, options.requests)),
        ("time in the pod, p50 / p99 in ms, by load (share of the capacity)", waiting(turn, options.requests)),
        ("what a rate needs", needs(costs, turn, options.edge, options.requests)),
        ("where one of each is full", limits(costs, turn, options.edge)),
        ("a million requests", prices(costs, options.edge, options.price)),
    ):
        print(f"\n{title}\n")
        print("\n".join(table))
    return 0


def measured(costs: Costs, turn: Turn) -> Iterator[str]:
    """What everything else is computed from."""
    edges = ", ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in costs.edges.items())
    handshakes = ", ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in costs.handshakes.items())
    yield from _table(
        ("of", "measured"),
        [
            (
                "a request, in a busy pod / at 500 a second",
                f"{costs.request * 1e6:.0f} / {costs.lone_request * 1e6:.0f} µs of CPU",
            ),
            ("a pod", f"{turn.capacity:,.0f} requests/s"),
            ("a run of 1 / 64 pictures", f"{costs.runs[1] * 1e6:.0f} / {costs.runs[64] * 1e6:.0f} µs"),
            ("a request through a proxy, with TLS", f"{edges} µs of CPU"),
            ("a new TLS connection", f"{handshakes} µs of CPU"),
            ("a request / its response", f"{costs.sent:,} / {costs.received:,} bytes"),
            ("a scrape", f"{costs.series} series, {costs.scrape_bytes:,} bytes, {costs.scrape * 1e3:.1f} ms of CPU"),
            ("a line of the access log", f"{costs.log_line} bytes"),
            ("a start", f"{costs.start:.2f} s; {costs.model / 1e6:.1f} MB of model"),
        ],
    )


def checks(costs: Costs, turn: Turn, requests: int) -> Iterator[str]:
    """The simulation beside what one pod did."""
    rows = []
    for check in costs.checks:
        wait = simulate(turn, 16, check.rate / turn.capacity, proxies=0, requests=requests)
        pairs = ((check.p50, wait.p50), (check.p99, wait.p99))
        rows.append(
            (
                f"{check.rate:,.0f}",
                f"{check.busy:.0%} / {wait.busy:.0%}",
                *(f"{measured * 1e3:.2f} / {simulated * 1e3:.2f}" for measured, simulated in pairs),
            )
        )
    yield from _table(("requests/s", "share of a core", "p50, ms", "p99, ms"), rows)


def waiting(turn: Turn, requests: int) -> Iterator[str]:
    """Time in the pod by load, for those who choose the pod."""
    choosers = [
        ("chance, any number of pods", 16, 0),
        ("one proxy, 2 pods", 2, 1),
        ("one proxy, 10 pods", 10, 1),
        ("one proxy, 100 pods", 100, 1),
        ("16 proxies, 100 pods", 100, 16),
        ("16 proxies, 1,000 pods", 1_000, 16),
    ]
    rows = []
    for name, pods, proxies in choosers:
        found = [simulate(turn, pods, load, proxies=proxies, requests=requests) for load in LOADS]
        rows.append((name, *(f"{wait.p50 * 1e3:.2f} / {wait.p99 * 1e3:.2f}" for wait in found)))
    yield from _table(("who chooses the pod", *(f"{load:g}" for load in LOADS)), rows)


def needs(costs: Costs, turn: Turn, edge: str, requests: int) -> Iterator[str]:
    """Pods and all else for each rate."""
    rows = []
    for rate in RATES:
        pods = max(2, math.ceil(rate / turn.capacity / TARGET))
        cores = rate * costs.edges[edge]
        proxies = max(2, math.ceil(cores / EDGE_CORES / TARGET))
        load = rate / pods / turn.capacity
        wait = simulate(turn, min(pods, MOST_PODS), load, proxies=min(proxies, MOST_PROXIES), requests=requests)
        rows.append(
            (
                f"{rate:,}",
                f"{pods:,}",
                f"{wait.p99 * 1e3:.2f} ms",
                f"{proxies:,} x {EDGE_CORES}",
                f"{rate * (costs.sent + costs.received) * 8 / 1e9:,.2f}",
                f"{pods * costs.series:,}",
                f"{pods * costs.series / SCRAPE_SECONDS:,.0f}",
                f"{pods * costs.model / 1e9:,.2f}",
                f"{rate * SAMPLED:,.0f}",
            )
        )
    yield from _table(
        (
            "requests/s",
            "pods",
            "p99 in the pod",
            "proxies x cores",
            "Gbit/s",
            "series",
            "samples/s",
            "models at a rollout, GB",
            "log lines/s (1 %)",
        ),
        rows,
    )


def limits(costs: Costs, turn: Turn, edge: str) -> Iterator[str]:
    """At which rate one of each part is full, the first at the top."""
    bytes_each = costs.sent + costs.received
    series_of_pod = costs.series
    of_pods = turn.capacity * TARGET  # requests/s that bring one more pod
    found = [
        Limit(turn.capacity * TARGET, "a pod of one core", f"{costs.request * 1e6:.0f} µs", f"{TARGET:.0%} busy"),
        Limit(
            EDGE_CORES * TARGET / (costs.handshakes[edge] + costs.edges[edge]),
            f"a proxy of {EDGE_CORES} cores, a connection for each request",
            f"{(costs.handshakes[edge] + costs.edges[edge]) * 1e6:.0f} µs",
            f"{TARGET:.0%} busy",
        ),
        Limit(
            EDGE_CORES * TARGET / costs.edges[edge],
            f"a proxy of {EDGE_CORES} cores, kept connections",
            f"{costs.edges[edge] * 1e6:.0f} µs",
            f"{TARGET:.0%} busy",
        ),
        Limit(10e9 / 8 / bytes_each * 0.8, "a network card", f"{bytes_each:,} bytes", "10 Gbit/s, 80 % full"),
        Limit(
            5_000_000 / series_of_pod * of_pods, "one Prometheus", f"{series_of_pod} series a pod", "5 million series"
        ),
        Limit(
            100e6 / costs.log_line, "one collector of logs, every request", f"{costs.log_line} bytes a line", "100 MB/s"
        ),
        Limit(
            100e6 / costs.log_line / SAMPLED,
            "the same, 1 % of the requests",
            f"{costs.log_line} bytes a line",
            "100 MB/s",
        ),
        Limit(
            125e6 * 60 / costs.model * of_pods,
            "a registry, a rollout in a minute",
            f"{costs.model / 1e6:.1f} MB",
            "1 Gbit/s",
        ),
        Limit(5_000 * of_pods, "one Kubernetes cluster, a pod on each node", "-", "5,000 nodes"),
    ]
    rows = [(f"{limit.rate:,.0f}", limit.part, limit.measured, limit.assumed) for limit in sorted(found)]
    yield from _table(("requests/s", "part", "measured", "assumed"), rows)


def prices(costs: Costs, edge: str, price: float) -> Iterator[str]:
    """Seconds of a core for a million requests, and what they cost."""
    rows = []
    for name, rate in SERVERS.items():
        seconds = BENCHMARK_CORES * 1e6 / rate
        rows.append((name, f"{rate:,}", f"{seconds:,.0f}", f"{seconds / 3600 * price:.5f}"))
    seconds = costs.edges[edge] * 1e6
    rows.append((f"beside each of them: {edge}", "-", f"{seconds:,.0f}", f"{seconds / 3600 * price:.5f}"))
    yield from _table(("server", "requests/s of two cores", "seconds of a core", f"at {price:g} a core-hour"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
