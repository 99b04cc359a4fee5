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
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.serving.load import Load as Connections
from benchmarks.serving.load import drive
from tests.support.edges import PROGRAMS, running_edge
from tests.support.scale.autoscaler import Rule
from tests.support.scale.load import running_load
from tests.support.scale.model import SCALED_OBJECT, Model, Scaler, Window, request_of
from tests.support.scale.pods import SETTLE_SECONDS, can_limit, running_deployment

if TYPE_CHECKING:
    from collections.abc import Iterator


# nginx: what was sent to a service that broke the connection is sent to another. A prediction changes nothing.
RESEND = {"proxy_next_upstream error timeout;": "proxy_next_upstream error timeout non_idempotent;"}


@contextlib.contextmanager
def running_model(options: argparse.Namespace, replicas: int, per_second: float) -> Iterator[Model]:
    """Pods, the edge and the load; the load ends first, and then its outcome is known."""
    with running_deployment(replicas, options.most, speed=options.speed, cores=options.cores) as deployment:
        changes = RESEND if options.resend else {}
        with running_edge(options.edge, deployment.urls, changes=changes) as edge:
            time.sleep(SETTLE_SECONDS)  # HAProxy and Envoy have asked for health meanwhile
            _, request = request_of(options.pictures)
            with running_load(edge.url, edge.certificate, request, per_second) as load:
                model = Model(deployment, edge, load, [])
                time.sleep(2)  # the load's process starts
                yield model
            model.read_errors()


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
            ("falls", [1], 8),
        ):
            began = time.perf_counter()
            pods = [len(model.deployment.pods)]
            for factor in factors:
                model.load.set_rate(options.rate * factor)
                pods += scaler.follow(minutes * minute)
            steps = "-".join(str(number) for number, _ in itertools.groupby(pods))
            model.windows.append(Window(f"load {name}: {steps} pods", 1, began, time.perf_counter()))
    return model


def throughput(options: argparse.Namespace) -> list[str]:
    """Requests per second by the number of pods: 16 connections that each ask again when they are answered."""
    body, _ = request_of(options.pictures)
    lines = ["pods  requests/s  of one pod's   p50 ms   p99 ms  failed"]
    with running_deployment(1, options.most, speed=options.speed, cores=options.cores) as deployment:
        first = 0.0
        for pods in range(1, options.most + 1):
            deployment.scale(pods)
            time.sleep(SETTLE_SECONDS)
            with running_edge(options.edge, deployment.endpoints) as edge:
                time.sleep(2)
                done = drive(f"{edge.url}/predict", body, Connections(16), options.seconds)
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
    parser.add_argument("--only", type=lambda text: text.split(","), default=["disturb", "autoscale", "throughput"])
    options = parser.parse_args(arguments)
    if options.speed > 1 and options.edge != "nginx":
        parser.error("HAProxy and Envoy ask for health once a second: --speed 1")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
