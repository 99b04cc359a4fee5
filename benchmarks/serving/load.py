"""A load on a server, made by wrk: connections that each ask as fast as they are answered, or a constant rate.

In: a URL, a body, a load. Out: a `Round`. It knows wrk, and nothing of the server behind the URL.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from benchmarks.serving.bodies import Body

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT_SECONDS = 10


class Load(NamedTuple):
    """So many connections, and so many requests a second over all of them; 0: as fast as they are answered."""

    connections: int
    rate: int = 0

    @property
    def title(self) -> str:
        """As the table's head has it."""
        return f"{self.rate}/s on {self.connections}" if self.rate else f"{self.connections}"


LOADS = (Load(1), Load(16), Load(64), Load(64, rate=500))


class Round(NamedTuple):
    """What a server did under one load."""

    per_second: float
    p50_ms: float
    p99_ms: float
    failed: float  # requests refused, broken off, or not answered in time


def drive(url: str, body: Body, load: Load, seconds: int) -> Round:
    """Put the load on a server for so long."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(body.content)
        options = ["-t1", f"-c{load.connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s", f"-s{SCRIPT}"]
        headers = [word for header in body.headers.items() for word in header]
        command = ["wrk", *options, url, "--", file.name, str(load.rate), *headers]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    requests, duration, failed, p50, p99 = map(float, said.partition("RESULT ")[2].split())
    return Round(requests / duration, p50, p99, failed)
