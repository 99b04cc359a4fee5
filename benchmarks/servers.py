"""The two servers that are compared, each in processes of its own: started, watched and ended.

In: a model version's folder and a number of workers. Out: a `Server` that has answered right, with what it costs. It
knows /proc, and nothing of load.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

SEVEN = Path("service/page/seven.png").read_bytes()
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A server that answers at `url`; `ready_seconds` passed from exec to its first right answer."""

    name: str
    workers: int
    url: str
    pid: int
    ready_seconds: float

    def cpu_seconds(self) -> float:
        """CPU time of all its processes so far."""
        return sum(_cpu_seconds(pid) for pid in _tree(self.pid))

    def worker_mib(self) -> float:
        """Resident memory of its largest process, which is a worker."""
        return max(_resident_mib(pid) for pid in _tree(self.pid))


@contextlib.contextmanager
def ours(model: Path, workers: int) -> Iterator[Server]:
    """`python -m service` with its defaults."""
    port = _free_port()
    settings = {"PORT": port, "WORKERS": workers, "MODEL_DIR": model.parent, "MODEL_VERSION": model.name}
    environment = {f"MNIST_{key}": str(value) for key, value in settings.items()}
    with _running("ours", workers, port, ["-m", "service"], environment) as server:
        yield server


@contextlib.contextmanager
def textbook(model: Path, workers: int) -> Iterator[Server]:
    """The textbook server, with the defaults of uvicorn's command line."""
    port = _free_port()
    command = ["-m", "uvicorn", "benchmarks.textbook:app", "--port", str(port), "--workers", str(workers)]
    with _running("textbook", workers, port, command, {"MNIST_MODEL": str(model / "model.onnx")}) as server:
        yield server


@contextlib.contextmanager
def _running(name: str, workers: int, port: int, command: list[str], environment: dict[str, str]) -> Iterator[Server]:
    url = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    # What it logs is thrown away, which is the cheapest thing to do with an access log.
    with subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _await_seven(process, url)
            yield Server(name, workers, url, process.pid, time.perf_counter() - started)
        finally:
            process.terminate()


def _await_seven(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(base_url=url, timeout=START_SECONDS) as client:
        while not _answers_seven(client):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} did not start (exit code {process.poll()})")
            time.sleep(0.01)


def _answers_seven(client: httpx.Client) -> bool:
    try:
        answer = client.post("/predict", files={"file": SEVEN}).raise_for_status().json()
    except httpx.ConnectError:
        return False
    prediction = answer["predictions"][0] if "predictions" in answer else answer
    if prediction["digit"] != 7:
        raise RuntimeError(f"{client.base_url} takes a seven for {prediction}")
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _tree(pid: int) -> list[int]:
    """A process and all below it."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return [pid, *(below for child in children for below in _tree(child))]


def _cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


def _resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024
