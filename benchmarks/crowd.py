"""`python -m benchmarks.crowd`: what good clients keep beside a thousand connections that read nothing.

In: checkouts of this project, by default this one. Out: two tables. In the first, good clients ask for a digit, one
request after the other on each connection: first alone, then beside a crowd, each of whose connections has asked for a
document 200 times and reads no answer. In the second, 64 clients ask the app for sets of digits beside one busy client
on the fast path: they are no crowd that harms anybody. Each row has a service of its own with one worker; the clients
share the cores with it.

    python -m benchmarks.crowd . OLDER      this checkout and another one, by turns
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.servers import MODEL, ours
from benchmarks.serving import bodies
from benchmarks.serving.load import Load, drive
from benchmarks.serving.visit import Digits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.serving.bodies import Body

GOOD = (1, 16)  # connections
REQUESTS = 200  # of each connection of the crowd
DOCUMENTS = ("/openapi.json", "/v2/models/mnist-mlp")
SECONDS = 3  # of a round
ROUNDS = 3  # beside the crowd
APP = "/predict?coverage=0.99"  # which is not answered on the fast path
APP_LOAD = Load(64)


@contextlib.contextmanager
def crowd(url: str, document: str, connections: int) -> Iterator[None]:
    """Keep so many connections open that have asked for a document again and again, and read nothing."""
    at = urlsplit(url)
    request = f"GET {document} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with contextlib.ExitStack() as opened:
        for _ in range(connections):
            connection = opened.enter_context(socket.create_connection((at.hostname, at.port)))
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.send(request * REQUESTS)
        yield


def measure(folder: Path, body: Body, document: str, good: int, connections: int) -> tuple[float, float]:
    """Return the good clients' requests per second, alone and beside the crowd."""
    with ours(MODEL, 1, folder) as server:
        drive(f"{server.url}/predict", body, Load(good), 1)
        alone = drive(f"{server.url}/predict", body, Load(good), SECONDS).per_second
        with crowd(server.url, document, connections):
            rounds = [drive(f"{server.url}/predict", body, Load(good), SECONDS) for _ in range(ROUNDS)]
    return alone, statistics.median(one.per_second for one in rounds)


def share(folder: Path, body: Body) -> tuple[float, float]:
    """Return the requests per second of the app's clients, and of the one on the fast path, at the same time."""
    with ours(MODEL, 1, folder) as server, ThreadPoolExecutor() as threads:
        app = threads.submit(drive, f"{server.url}{APP}", body, APP_LOAD, SECONDS)
        fast = threads.submit(drive, f"{server.url}/predict", body, Load(1), SECONDS)
        return app.result().per_second, fast.result().per_second


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path()], metavar="FOLDER", help="a checkout")
    parser.add_argument("--connections", type=int, default=1000, help="of the crowd")
    options = parser.parse_args(words)
    body = bodies.octets(Digits.of(MODEL).images)
    print("| | document | good connections | alone, requests/s | beside the crowd | kept |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for document in DOCUMENTS:
        for good in GOOD:
            for folder in options.folders:
                alone, beside = measure(folder, body, document, good, options.connections)
                rates = f"{alone:,.0f} | {beside:,.0f} | {beside / alone:.0%}"
                print(f"| {folder} | {document} | {good} | {rates} |", flush=True)
    print(f"\n| | {APP}, {APP_LOAD.title} connections, requests/s | /predict, 1 connection |\n| --- | ---: | ---: |")
    for folder in options.folders:
        app, fast = share(folder, body)
        print(f"| {folder} | {app:,.0f} | {fast:,.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
