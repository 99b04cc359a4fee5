"""This service in processes of its own, for programs that do more to it than ask: started, watched and ended.

In: a model version's folder and a number of workers. Out: a `Server` that has answered right. It knows nothing of
load.
"""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from benchmarks.serving.processes import free_port, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.serving.processes import Running

MODEL = Path("models/mnist-mlp/50").resolve()
SEVEN = Path("service/page/seven.png").read_bytes()
START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """The service, which answers at `url`."""

    url: str
    pid: int


@contextlib.contextmanager
def ours(model: Path, workers: int, folder: Path | None = None, **others: int) -> Iterator[Server]:
    """`python -m service` of a checkout, by default this one, with its defaults but for the `others`."""
    port = free_port()
    where = {"MODEL_DIR": model.resolve().parent, "MODEL_VERSION": model.name}
    settings = {"PORT": port, "WORKERS": workers, **where, **others}
    environment = {f"MNIST_{key}": str(value) for key, value in settings.items()}
    url = f"http://127.0.0.1:{port}"
    with running([sys.executable, "-m", "service"], environment, folder) as service:
        _await_seven(service, url)
        yield Server(url, service.process.pid)


def _await_seven(service: Running, url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(base_url=url, timeout=START_SECONDS) as client:
        while not _answers_seven(client):
            if service.ended() or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start; its last words: {service.last_words()}")
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
