"""`python -m benchmarks.tracing`: what traces and the access log cost this service, by turns, as one table.

In: a published model version. Out: requests per second and p99 of one PNG on 64 connections, and of one connection,
without traces, with 1 % and with all requests sampled, and with lines of the access log. The spans go to a receiver in
a process of its own, which reads and drops them. The service is started anew for each turn, and the cases take turns,
so that a noisy minute hits each of them. wrk and the receiver share the cores with the service.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

import httpx

from benchmarks.servers import SEVEN, ours
from benchmarks.serving.bodies import Body
from benchmarks.serving.load import Load, Round, drive
from benchmarks.serving.processes import free_port, running

if TYPE_CHECKING:
    from collections.abc import Sequence

LOADS = (Load(1), Load(64))
RECEIVER = """\
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Case(NamedTuple):
    """One way to observe requests."""

    title: str
    sampled: float | None = None  # the share of requests; None: traces are off
    logged: int = 0  # the access log's share


CASES = (
    Case("traces off"),
    Case("on, none sampled", 0.0),
    Case("on, 1 % sampled", 0.01),
    Case("on, all sampled", 1.0),
    Case("traces off, all requests in the access log", logged=1),
)


def main(words: Sequence[str]) -> int:
    """Measures and prints; 1 where wrk is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing")
    parser.add_argument("--model", type=Path, default=Path("models/mnist-mlp/50"), help="a version's folder")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5, help="turns of each case")
    parser.add_argument("--seconds", type=int, default=4, help="length of each load")
    options = parser.parse_args(words)
    if not shutil.which("wrk"):
        print("wrk is not installed; Debian has it: apt-get install wrk", file=sys.stderr)
        return 1
    rounds: dict[tuple[str, Load], list[Round]] = {}
    lost: dict[str, float] = {}
    port = free_port()
    with running([sys.executable, "-c", RECEIVER, str(port)], {}):
        for number in range(options.repeats):
            for case in CASES:
                print(f"{case.title}, {number + 1} of {options.repeats} …", file=sys.stderr)
                _turn(case, options, port, rounds, lost)
    print(_table(rounds, lost))
    return 0


def _turn(
    case: Case,
    options: argparse.Namespace,
    port: int,
    rounds: dict[tuple[str, Load], list[Round]],
    lost: dict[str, float],
) -> None:
    variables = {}
    if case.sampled is not None:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(case.sampled),
        }
    with (
        mock.patch.dict(os.environ, variables),
        ours(options.model.resolve(), options.workers, access_log=case.logged) as server,
    ):
        for load in LOADS:
            drive(f"{server.url}/predict", PNG, load, 1)
            done = drive(f"{server.url}/predict", PNG, load, options.seconds)
            rounds.setdefault((case.title, load), []).append(done)
        time.sleep(1)
        text = httpx.get(f"{server.url}/metrics").text
    lost[case.title] = float(text.partition("\nmnist_spans_lost_total ")[2].partition("\n")[0])


PNG = Body({"Content-Type": "image/png"}, SEVEN)


def _table(rounds: dict[tuple[str, Load], list[Round]], lost: dict[str, float]) -> str:
    """Medians over the turns, and how much of the first case's rate each case has."""
    head = [f"{load.title} connections: requests/s | of the first | p99, ms" for load in LOADS]
    lines = [f"| | {' | '.join(head)} | failed | spans lost in the last turn |", "| --- " + "| ---: " * 8 + "|"]
    for case in CASES:
        cells = []
        for load in LOADS:
            rate = statistics.median(each.per_second for each in rounds[case.title, load])
            first = statistics.median(each.per_second for each in rounds[CASES[0].title, load])
            p99 = statistics.median(each.p99_ms for each in rounds[case.title, load])
            cells += [f"{rate:,.0f}", f"{rate / first:.1%}", f"{p99:.2f}"]
        failed = sum(each.failed for load in LOADS for each in rounds[case.title, load])
        lines.append(f"| {case.title} | {' | '.join(cells)} | {failed:.0f} | {lost[case.title]:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
