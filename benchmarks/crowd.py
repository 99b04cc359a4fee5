"""`python -m benchmarks.crowd`: what good clients keep beside a thousand connections that read nothing.

In: checkouts of this project, by default this one. Out: one table. Good clients ask for a digit, one request after
the other on each connection: first alone, then beside a crowd, each of whose connections has asked for a document 200
times and reads no answer. Each row has a service of its own with one worker; the clients share the cores with it.

    python -m benchmarks.crowd . OLDER      this checkout and another one, by turns
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.servers import ours
from benchmarks.serving import bodies
from benchmarks.serving.load import Load, drive
from benchmarks.serving.visit import Digits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.serving.bodies import Body

MODEL = Path("models/mnist-mlp/50")
GOOD = (1, 16)  # connections
REQUESTS = 200  # of each connection of the crowd
DOCUMENTS = ("/openapi.json", "/v2/models/mnist-mlp")
SECONDS = 3  # of a round
ROUNDS = 3  # beside the crowd


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
                print(
                    f"| {folder} | {document} | {good} | {alone:,.0f} | {beside:,.0f} | {beside / alone:.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:])
