"""This service in processes of its own, for programs that do more to it than ask: started, watched and ended.

In: a model version's folder and a number of workers. Out: a `Server` that has answered right. It knows nothing of
load.
"""

from __future__ import annotations

import contextlib
import os
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
START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """The service, which answers at `url`."""

    url: str
    pid: int


@contextlib.contextmanager
def ours(model: Path, workers: int) -> Iterator[Server]:
    """`python -m service` with its defaults."""
    port = _free_port()
    settings = {"PORT": port, "WORKERS": workers, "MODEL_DIR": model.parent, "MODEL_VERSION": model.name}
    environment = {f"MNIST_{key}": str(value) for key, value in settings.items()}
    url = f"http://127.0.0.1:{port}"
    # What it logs is thrown away, which is the cheapest thing to do with an access log.
    with subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _await_seven(process, url)
            yield Server(url, process.pid)
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
    prediction = answer["predictions"][0]
    if prediction["digit"] != 7:
        raise RuntimeError(f"{client.base_url} takes a seven for {prediction}")
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
