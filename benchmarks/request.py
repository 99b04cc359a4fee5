"""`python -m benchmarks.request`: what the microseconds of one request are made of.

In: a published model version. Out: for each load the worker's CPU time per request, shared out by what samples of its
stack found it doing. One worker is driven by wrk, on the same cores; py-spy (`pip install py-spy`, as root) looks at it
in a second round of the same load, because looking slows it down. What it does between two requests, waiting, is left
out.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.servers import MODEL, ours
from benchmarks.serving import bodies
from benchmarks.serving.load import Load, drive
from benchmarks.serving.processes import cpu_seconds
from training import data

if TYPE_CHECKING:
    from benchmarks.serving.bodies import Body

RATE = 200  # samples a second
MAIN = "run_module"  # the thread that runs the loop began so
# By the innermost frame that is one of these; the part of a request that it works for.
PARTS = {
    "epoll": "",  # waiting
    "write (libc": "the kernel: sending, and waking the client",
    "read (libc": "the kernel: receiving",
    "service/model/classifier.py": "the model",
    "onnxruntime/": "the model",
    "service/connection/guard.py": "HTTP: parser, limits, deadlines",
    "service/connection/holding.py": "HTTP: parser, limits, deadlines",
    "service/connection/refusing.py": "HTTP: parser, limits, deadlines",
    "service/connection/draining.py": "the fast path itself",
    "service/drivers/": "the fast path itself",
    "service/connection/writing.py": "the fast path itself",
    "service/api/predict.py": "the response: digits, warnings, JSON",
    "service/v2/inference.py": "the response: digits, warnings, JSON",
    "service/connection/framing.py": "HTTP: parser, limits, deadlines",
    "uvicorn/": "HTTP: parser, limits, deadlines",
    "service/codec/body.py": "the body: multipart, PNG, MNIST's format",
    "service/codec/multipart.py": "the body: multipart, PNG, MNIST's format",
    "service/picture/prepare.py": "the body: multipart, PNG, MNIST's format",
    "service/picture/mnist_format.py": "the body: multipart, PNG, MNIST's format",
    "service/picture/small_png.py": "the body: multipart, PNG, MNIST's format",
    "service/inference/results.py": "the response: digits, warnings, JSON",
    "service/model/uncertainty.py": "the response: digits, warnings, JSON",
    "service/inference/engine.py": "the response: digits, warnings, JSON",
    "service/codec/predictions.py": "the response: digits, warnings, JSON",
    "service/codec/v2_json.py": "the response: digits, warnings, JSON",
    "service/inference/batcher.py": "admission, queue, versions",
    "service/inference/admission.py": "admission, queue, versions",
    "service/inference/router.py": "admission, queue, versions",
    "service/model/cost_curve.py": "admission, queue, versions",
    "service/observability/buffered_metrics.py": "metrics, request ids",
    "service/observability/metrics.py": "metrics, request ids",
    "service/observability/requests.py": "metrics, request ids",
    "prometheus_client/": "metrics, request ids",
    "service/connection/fast_path.py": "the fast path itself",
}
OTHER = "the event loop, and the rest"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.request", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of each load, twice")
    seconds = parser.parse_args().seconds
    images = data.load(None).test.images.numpy()[:1, 0]
    with ours(MODEL, 1) as server:
        for title, body, load in [
            ("784 bytes, 64 connections", bodies.octets(images), Load(64)),
            ("one PNG, 64 connections", bodies.picture(images), Load(64)),
            ("784 bytes, 1 connection", bodies.octets(images), Load(1)),
        ]:
            each, parts = watched(server.url, server.pid, body, load, seconds)
            print(f"\n{title}: {each * 1e6:.0f} µs of CPU time a request")
            for part, share in parts.most_common():
                print(f"  {part:<45}{share * each * 1e6:>6.1f} µs {share:>5.0%}")


def watched(url: str, pid: int, body: Body, load: Load, seconds: int) -> tuple[float, Counter[str]]:
    """CPU seconds of a request, and the share of each part."""
    url = f"{url}/predict"
    before = cpu_seconds(pid)
    done = drive(url, body, load, seconds)
    each = (cpu_seconds(pid) - before) / (done.per_second * seconds)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other:
        found = Path(folder) / "samples"
        again = other.submit(drive, url, body, load, seconds)
        command = ["py-spy", "record", "--native", "--format=raw", f"--rate={RATE}", f"--duration={seconds - 1}"]
        subprocess.run([*command, f"--pid={pid}", f"--output={found}"], check=True, capture_output=True)
        again.result()
        parts: Counter[str] = Counter()
        for line in found.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            if MAIN in stack:
                parts[part_of(stack.split(";"))] += int(count)
    del parts[""]
    return each, Counter({part: count / parts.total() for part, count in parts.items()})


def part_of(stack: list[str]) -> str:
    """What a stack, innermost last, works for."""
    for frame in reversed(stack):
        for mark, part in PARTS.items():
            if mark in frame:
                return part
    return OTHER


if __name__ == "__main__":
    main()
