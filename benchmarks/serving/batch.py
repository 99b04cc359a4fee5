"""`python -m benchmarks.serving.batch`: many pictures by `service batch`, and by clients over HTTP, as one table.

In: a number of pictures and of workers. Out: pictures a second, and CPU time for each picture: of what predicts, and of
the clients that ask it. The pictures are MNIST's digits as PNG; every twentieth is a rendered one, as a phone, a
scanner or a drawing program makes them. Both ways read the same folder, have the machine to themselves, and include
their start.

    .venv/bin/python -m benchmarks.serving.batch --pictures 2000
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.servers import MODEL, ours
from benchmarks.serving.processes import PR_SET_CHILD_SUBREAPER
from training import data
from training.synthesis import ink

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RENDERED_EACH = 20
DIFFERENT = 200  # rendered pictures, which come again and again
FOLDER_PICTURES = 1000
REAP_SECONDS = 0.2  # for readers to end, whose parent has


class Taken(NamedTuple):
    """What one way took, in seconds."""

    wall: float
    predicting: float  # of CPU time
    asking: float


def main(words: Sequence[str]) -> int:
    """Make the pictures, measure both ways, and print the table."""
    options = _options(words)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that the CPU time of orphans is counted
    with tempfile.TemporaryDirectory(prefix="batch-", dir=options.folder) as made:
        folder = Path(made)
        make_pictures(folder / "in", options.pictures)
        ways = {
            "`service batch`": [by_batch(folder, options.workers) for _ in range(options.repeats)],
            "`service.client` over HTTP": [by_clients(folder, options.workers) for _ in range(options.repeats)],
        }
    print("| way | pictures/s | CPU for each picture, µs | of it clients, µs |\n| --- | ---: | ---: | ---: |")
    for name, rounds in ways.items():
        best = min(rounds)
        each = 1e6 / options.pictures
        total = (best.predicting + best.asking) * each
        print(f"| {name} | {options.pictures / best.wall:,.0f} | {total:,.0f} | {best.asking * each:,.0f} |")
    cores = len(os.sched_getaffinity(0))
    print(
        f"\n{options.pictures:,} pictures, every {RENDERED_EACH}th a rendered one; model {MODEL.name}; "
        f"{options.workers} workers, and as many clients; best of {options.repeats}; {cores} cores, "
        f"{platform.machine()}, Python {platform.python_version()}."
    )
    return 0


def _options(words: Sequence[str]) -> argparse.Namespace:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.batch")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=cores, help="of both ways; default: the cores")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of each way; the best counts")
    parser.add_argument("--folder", type=Path, help="where the pictures are made; default: the system's folder")
    return parser.parse_args(words)


def make_pictures(folder: Path, count: int) -> None:
    """Write MNIST's digits and rendered ones, in folders of `FOLDER_PICTURES`."""
    digits = data.load(None).test.images.numpy()[:, 0]
    rng = np.random.default_rng(0)
    families = list(ink.FAMILIES)
    rendered = [
        ink.render(families[number % len(families)], None, number % 10, rng)
        for number in range(min(DIFFERENT, 1 + count // RENDERED_EACH))
    ]
    for number in range(count):
        path = folder / f"{number // FOLDER_PICTURES:05}" / f"{number:08}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % RENDERED_EACH == 0:
            path.write_bytes(rendered[number // RENDERED_EACH % len(rendered)])
        else:
            Image.fromarray(digits[number % len(digits)]).save(path)


def by_batch(folder: Path, workers: int) -> Taken:
    """Measure `service batch`, from its start to its report."""
    with tempfile.TemporaryDirectory(dir=folder) as out, _measuring() as taken:
        words = ["batch", str(folder / "in"), "--out", out, "--workers", str(workers)]
        model = ["--model-dir", str(MODEL.parent), "--model-version", MODEL.name]
        subprocess.run([sys.executable, "-m", "service", *words, *model], check=True, stdout=subprocess.DEVNULL)
    (wall, cpu) = taken
    return Taken(wall, cpu, 0.0)


def by_clients(folder: Path, workers: int) -> Taken:
    """Measure a service and as many clients, each of which asks for its share of the folders over one connection."""
    folders = sorted((folder / "in").iterdir())
    with _measuring() as whole, ours(MODEL, workers) as server:
        with _measuring() as asked:
            clients = [
                subprocess.Popen(
                    [sys.executable, "-m", "service.client", "--json", "--url", server.url, *folders[number::workers]],
                    stdout=subprocess.DEVNULL,
                )
                for number in range(min(workers, len(folders)))
            ]
            codes = [client.wait() for client in clients]
        if any(code not in {0, 1} for code in codes):  # 1: a picture was refused
            raise RuntimeError(f"clients have ended with {codes}")
    return Taken(whole[0], whole[1] - asked[1], asked[1])


@contextlib.contextmanager
def _measuring() -> Iterator[list[float]]:
    """Measure the seconds in the context, and the CPU time of the processes that have ended in it."""
    taken: list[float] = []
    began, before = time.perf_counter(), _cpu_seconds()
    yield taken
    wall = time.perf_counter() - began
    time.sleep(REAP_SECONDS)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    taken += [wall, _cpu_seconds() - before]


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
