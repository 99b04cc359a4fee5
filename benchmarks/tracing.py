"""`python -m benchmarks.tracing`: what traces and the access log cost this service, by turns, as one table.

In: a published model version. Out: requests per second, CPU time of a request and p99, of one PNG on one connection
and on 64: without traces, with none, 1 % and all requests sampled, and with lines of the access log. The spans go to a
receiver in a process of its own, which reads and drops them. The service, with one worker, is started anew for each
turn, and the cases take turns, so that a noisy minute hits each of them. wrk and the receiver share the cores with the
service; its CPU time, of all its threads, varies least.
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

from benchmarks.servers import MODEL, SEVEN, ours
from benchmarks.serving.bodies import Body
from benchmarks.serving.load import Load, drive
from benchmarks.serving.processes import cpu_seconds, free_port, running

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


class Turn(NamedTuple):
    """What one load found out."""

    per_second: float
    cpu_us: float  # CPU time of a request, in microseconds
    p99_ms: float
    failed: float  # requests


Turns = dict[tuple[str, Load], list[Turn]]  # by a case's title


def main(words: Sequence[str]) -> int:
    """Measures and prints; 1 where wrk is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing")
    parser.add_argument("--model", type=Path, default=MODEL, help="a version's folder")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each case")
    parser.add_argument("--seconds", type=int, default=4, help="length of each load")
    options = parser.parse_args(words)
    if not shutil.which("wrk"):
        print("wrk is not installed; Debian has it: apt-get install wrk", file=sys.stderr)
        return 1
    turns: Turns = {}
    lost: dict[str, float] = {}
    port = free_port()
    with running([sys.executable, "-c", RECEIVER, str(port)], {}):
        for number in range(options.repeats):
            for case in CASES:
                print(f"{case.title}, {number + 1} of {options.repeats} …", file=sys.stderr)
                _take_turn(case, options, port, turns, lost)
    print(_table(turns, lost))
    return 0


def _take_turn(case: Case, options: argparse.Namespace, port: int, turns: Turns, lost: dict[str, float]) -> None:
    variables = {}
    if case.sampled is not None:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(case.sampled),
        }
    with (
        mock.patch.dict(os.environ, variables),
        ours(options.model.resolve(), workers=1, access_log=case.logged) as server,
    ):
        for load in LOADS:
            drive(f"{server.url}/predict", PNG, load, 1)
            before = cpu_seconds(server.pid)
            done = drive(f"{server.url}/predict", PNG, load, options.seconds)
            each = (cpu_seconds(server.pid) - before) / (done.per_second * options.seconds)
            turns.setdefault((case.title, load), []).append(Turn(done.per_second, each * 1e6, done.p99_ms, done.failed))
        time.sleep(1)
        text = httpx.get(f"{server.url}/metrics").text
    lost[case.title] = float(text.partition("\nmnist_spans_lost_total ")[2].partition("\n")[0])


PNG = Body({"Content-Type": "image/png"}, SEVEN)


def _table(turns: Turns, lost: dict[str, float]) -> str:
    """Medians over the turns, also of what each is of the first case's in the same turn."""
    head = [f"{load.title} connections: requests/s | of the first | CPU, µs | of the first | p99, ms" for load in LOADS]
    lines = [f"| | {' | '.join(head)} | failed | spans lost in the last turn |", "| --- " + "| ---: " * 12 + "|"]
    for case in CASES:
        cells = []
        for load in LOADS:
            own, first = turns[case.title, load], turns[CASES[0].title, load]
            rate, cpu, p99, _ = map(statistics.median, zip(*own, strict=True))
            rates = statistics.median(one.per_second / base.per_second for one, base in zip(own, first, strict=True))
            cpus = statistics.median(one.cpu_us / base.cpu_us for one, base in zip(own, first, strict=True))
            cells += [f"{rate:,.0f}", f"{rates:.1%}", f"{cpu:.1f}", f"{cpus:.1%}", f"{p99:.2f}"]
        failed = sum(turn.failed for load in LOADS for turn in turns[case.title, load])
        lines.append(f"| {case.title} | {' | '.join(cells)} | {failed:.0f} | {lost[case.title]:,.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
