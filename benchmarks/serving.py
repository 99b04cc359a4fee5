"""`python -m benchmarks.serving`: this service beside a textbook one, one PNG in each request, driven by wrk.

In: a published model version. Out: requests per second, latency, CPU, memory and start, as tables. Both servers answer
the same multipart upload, which compares like with like; this service also takes the PNG as it is. All servers run all
the time and are driven in turn, round after round, so that a noisy minute hits each of them; the numbers are medians
over the rounds, the ratios too. wrk shares the cores with the servers: alone on them, each would do more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.servers import SEVEN, Server, ours, textbook

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKERS = (1, 2)
CONNECTIONS = (1, 16, 64)
SCRIPT = Path(__file__).with_name("post.lua")
BOUNDARY = "a-boundary-that-no-picture-holds"
PART = 'Content-Disposition: form-data; name="file"; filename="seven.png"\r\nContent-Type: image/png'
UPLOAD = f"--{BOUNDARY}\r\n{PART}\r\n\r\n".encode() + SEVEN + f"\r\n--{BOUNDARY}--\r\n".encode()
# What is sent, by name, with its content type.
BODIES = {"multipart": (UPLOAD, f"multipart/form-data; boundary={BOUNDARY}"), "raw PNG": (SEVEN, "image/png")}
CONTESTANTS = (("textbook", "multipart"), ("ours", "multipart"), ("ours", "raw PNG"))


class Round(NamedTuple):
    """What one server did in one round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of the server's processes, for one request
    failed: float  # refused, broken off, or not answered within 10 s


Rounds = dict[tuple[str, str, int, int], list[Round]]  # by server, body, workers, connections


def main(words: Sequence[str]) -> int:
    """Measures and prints; 1 where wrk is missing or a request failed."""
    options = _options(words)
    if not shutil.which("wrk"):
        print("wrk is not installed; Debian has it: apt-get install wrk", file=sys.stderr)
        return 1
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [
            stack.enter_context(start(options.model, workers)) for workers in WORKERS for start in (textbook, ours)
        ]
        rounds = _measure(servers, folder, options.rounds, options.seconds)
        print(_speed_table(rounds), _cost_table(servers), sep="\n\n")
    failed = sum(result.failed for results in rounds.values() for result in results)
    print(f"\n{_conditions(options)} Requests that failed: {failed:.0f}.")
    return int(failed > 0)


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--model", type=Path, default=_latest(Path("models/mnist-mlp")), help="a version's folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="length of a round for each server")
    return parser.parse_args(words)


def _latest(model_dir: Path) -> Path:
    return max(model_dir.glob("[1-9]*"), key=lambda folder: int(folder.name))


def _measure(servers: Sequence[Server], folder: Path, rounds: int, seconds: int) -> Rounds:
    for form, (body, _) in BODIES.items():
        (folder / form).write_bytes(body)
    runs = [(server, form) for server in servers for name, form in CONTESTANTS if server.name == name]
    for server, form in runs:
        _drive(server, folder, form, connections=16, seconds=1)
    results: Rounds = {}
    for number in range(1, rounds + 1):
        for connections in CONNECTIONS:
            print(f"round {number} of {rounds}, {connections} connections …", file=sys.stderr)
            for server, form in runs:
                result = _drive(server, folder, form, connections, seconds)
                results.setdefault((server.name, form, server.workers, connections), []).append(result)
    return results


def _drive(server: Server, folder: Path, form: str, connections: int, seconds: int) -> Round:
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        str(SCRIPT),
        f"{server.url}/predict",
    ]
    before = server.cpu_seconds()
    run = subprocess.run(
        [*command, "--", str(folder / form), BODIES[form][1]], check=True, capture_output=True, text=True
    )
    cpu_seconds = server.cpu_seconds() - before
    requests, duration, failed, p50, p99 = map(float, run.stdout.partition("RESULT ")[2].split())
    return Round(requests / duration, p50, p99, cpu_seconds / requests * 1e6, failed)


def _speed_table(rounds: Rounds) -> str:
    lines = [
        "| workers | connections | " + " | ".join(f"{name}, {form}" for name, form in CONTESTANTS) + " |",
        "| ---: " * (2 + len(CONTESTANTS)) + "|",
    ]
    for workers in WORKERS:
        for connections in CONNECTIONS:
            results = [rounds[name, form, workers, connections] for name, form in CONTESTANTS]
            cells = [_cell(result, results[0]) for result in results]
            lines.append(f"| {workers} | {connections} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(results: Sequence[Round], textbook: Sequence[Round]) -> str:
    median = Round(*(statistics.median(column) for column in zip(*results, strict=True)))
    ratio = statistics.median(a.per_second / b.per_second for a, b in zip(results, textbook, strict=True))
    speed = f"{median.per_second:,.0f}/s" + (f" ({ratio:.1f}×)" if results is not textbook else "")
    failed = sum(result.failed for result in results)
    text = f"{speed}, p50 {median.p50_ms:.2f} ms, p99 {median.p99_ms:.2f} ms, {median.cpu_us:.0f} µs"
    return text + (f", {failed:.0f} failed" if failed else "")


def _cost_table(servers: Sequence[Server]) -> str:
    lines = ["| server | workers | from exec to the first right answer | RSS of a worker after the load |"]
    lines.append("| --- | ---: | ---: | ---: |")
    lines += [f"| {s.name} | {s.workers} | {s.ready_seconds:.2f} s | {s.worker_mib():.0f} MiB |" for s in servers]
    return "\n".join(lines)


def _conditions(options: argparse.Namespace) -> str:
    return (
        f"Model {options.model}; medians of {options.rounds} interleaved rounds of {options.seconds} s; "
        f"{len(os.sched_getaffinity(0))} cores, which wrk (one thread) shares with the servers; "
        "µs: CPU time of the server's processes for one request."
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
