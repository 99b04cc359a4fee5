"""`python -m benchmarks.start`: seconds from exec to the first right answer, and the memory of one service and of two.

In: checkouts of this project, by default this one; several take turns. Their bytecode is compiled before, as the image
has it. `--python` names the interpreter of another environment: one with requirements/serving.txt alone is the image's,
where nothing else is found and imported. Out: for each number of workers, the median and the least of seconds and of
CPU seconds until the first right answer to 784 bytes, and the memory (PSS) of all processes then, and when the readers
have started. Of two workers one is killed at last: the seconds until another one serves.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.servers import MODEL
from benchmarks.serving import bodies
from benchmarks.serving.processes import free_port, running
from benchmarks.serving.visit import Digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.serving.processes import Running

POLL_SECONDS = 0.002
START_SECONDS = 60
SETTLE_SECONDS = 2  # after the first answer: the readers of all workers have started
SERVES = "serving model"  # a line of the log that has these words is a worker's that is about to serve
COLUMNS = (
    "",
    "workers",
    "first answer, s: median, least",
    "CPU, s",
    "memory then, MiB",
    "with readers, MiB",
    "after a kill, s",
)


class Start(NamedTuple):
    """One start of the service."""

    seconds: float
    cpu_seconds: float
    mib: float  # at the first answer, before a reader is started
    mib_with_readers: float
    replacement_seconds: float | None  # of a worker that was killed; None where there is one


def main(words: Sequence[str]) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path()], metavar="FOLDER", help="a checkout")
    parser.add_argument("--repeats", type=int, default=10, help="starts of each")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the interpreter [this one]")
    options = parser.parse_args(words)
    for folder in options.folders:
        subprocess.run([options.python, "-m", "compileall", "-q", folder / "service"], check=True)
    cases = [(folder, workers) for workers in (1, 2) for folder in options.folders]
    starts: dict[tuple[Path, int], list[Start]] = {case: [] for case in cases}
    for _ in range(options.repeats):
        for case, found in starts.items():
            found.append(start(*case, options.python))
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"| --- |{' ---: |' * (len(COLUMNS) - 1)}")
    for (folder, workers), found in starts.items():
        seconds, cpu, mib, mib_with_readers, replacement = zip(*found, strict=True)
        cells = [f"{statistics.median(some):.3f}, {min(some):.3f}" for some in (seconds, cpu)]
        cells += [f"{statistics.median(some):.1f}" for some in (mib, mib_with_readers)]
        cells.append(f"{statistics.median(replacement):.3f}" if workers > 1 else "")
        print(f"| {folder} | {workers} | {' | '.join(cells)} |")


def start(folder: Path, workers: int, python: Path) -> Start:
    """Start the service of a checkout once, with an interpreter, and ask it."""
    digits = Digits.of(MODEL)[:1]
    body = bodies.octets(digits.images)
    port = free_port()
    settings = {"PORT": port, "WORKERS": workers, "MODEL_DIR": MODEL.parent, "MODEL_VERSION": MODEL.name}
    environment = {f"MNIST_{name}": str(value) for name, value in settings.items()}
    began = time.perf_counter()
    with running([str(python.absolute()), "-m", "service"], environment, folder) as server:
        while (answer := _ask(port, body.content, body.headers)) is None:
            _wait(server, began)
        seconds, cpu, mib = time.perf_counter() - began, server.cpu_seconds(), server.memory_mib()
        if (found := bodies.digits(answer)) != digits.labels:
            raise RuntimeError(f"expected the digit {digits.labels}, found {found}")
        time.sleep(SETTLE_SECONDS)
        return Start(seconds, cpu, mib, server.memory_mib(), _replace(server) if workers > 1 else None)


def _replace(server: Running) -> float:
    """Kill one of several workers; return the seconds until another one serves."""
    served, began = server.said(SERVES), time.perf_counter()
    os.kill(server.children()[0], signal.SIGKILL)
    while server.said(SERVES) == served:
        _wait(server, began)
    return time.perf_counter() - began


def _wait(server: Running, began: float) -> None:
    """Wait a moment; raises `RuntimeError` where it has ended, or `began` is too long ago."""
    if server.ended() or time.perf_counter() - began > START_SECONDS:
        raise RuntimeError(f"the service did not start; its last words: {server.last_words()}")
    time.sleep(POLL_SECONDS)


def _ask(port: int, content: bytes, headers: dict[str, str]) -> object:
    """Return the service's answer; None where nobody listens yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("POST", "/predict", content, headers)
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == http.HTTPStatus.OK else None
    except ConnectionError:
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1:])
