"""One server's turn: its environment, its start, its answers checked, every load, its memory, its end.

In: a contestant, a model version, digits. Out: a `Visit`. Whatever goes wrong is told in it, and is never an error of
the benchmark.
"""

from __future__ import annotations

import compileall
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np

from benchmarks.serving import bodies, processes
from benchmarks.serving.contestants import MANY, MANY_BYTES
from benchmarks.serving.load import LOADS, Load, Round, drive

if TYPE_CHECKING:
    from benchmarks.serving.bodies import Pixels
    from benchmarks.serving.contestants import Contestant
    from benchmarks.serving.processes import Running

ROOT = Path(__file__).parents[2]
START_SECONDS = 120
ASK_SECONDS = 10
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Digits:
    """Pictures, uint8[N,28,28], and the digits that the model says they show: a fresh version may miss one of them."""

    images: Pixels
    labels: list[int]

    def __getitem__(self, some: slice) -> Digits:
        return Digits(self.images[some], self.labels[some])

    @classmethod
    def of(cls, model: Path) -> Digits:
        """64 of a version's golden digits, with what ONNX Runtime alone answered when it was exported."""
        with np.load(model / "golden.npz") as golden:
            chosen = np.resize(np.random.default_rng(0).permutation(len(golden["images"])), 64)
            return cls(golden["images"][chosen, 0], golden["probabilities"][chosen].argmax(1).tolist())


@dataclass
class Visit:
    """What one turn of a server told."""

    start_seconds: float = 0.0
    rounds: dict[tuple[str, Load], Round] = field(default_factory=dict)  # by form
    memory_mib: dict[str, float] = field(default_factory=dict)  # after the loads of a form
    refused: dict[str, str] = field(default_factory=dict)  # why a form was not driven


class RefusedError(Exception):
    """A server that could not be installed or started, or that answered wrong; says why."""


def visit(contestant: Contestant, model: Path, digits: Digits, seconds: int) -> Visit:
    """A server's turn."""
    told = Visit()
    try:
        command = [_python(contestant.environment), "-m", contestant.module]
        port = processes.free_port()
        started = time.perf_counter()
        with (
            processes.running(command, _environment(contestant, model, port)) as server,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ASK_SECONDS) as client,
        ):
            _await_first(client, contestant, digits, server)
            told.start_seconds = time.perf_counter() - started
            for form in contestant.dialect:
                _drive(told, client, contestant, form, digits, seconds=seconds)
                told.memory_mib[form] = server.memory_mib()
    except RefusedError as refusal:
        told.refused = dict.fromkeys(contestant.dialect, str(refusal))
    return told


def _python(environment: str) -> str:
    """The interpreter of an environment, which the Makefile makes where it is missing or old."""
    if not environment:
        compileall.compile_dir(ROOT / "service", quiet=1)  # as pip does for the others
        return sys.executable
    folder = Path(sys.prefix) / "peers" / environment
    command = ["make", "--no-print-directory", f"VENV={sys.prefix}", f"{folder}/.installed"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode:
        *_, reason = ["", *(line for line in made.stderr.splitlines() if not line.startswith("make"))]
        raise RefusedError(f"cannot be installed: {reason}")
    return str(folder / "bin" / "python")


def _environment(contestant: Contestant, model: Path, port: int) -> dict[str, str]:
    others = {"PORT": port, "WORKERS": contestant.workers, "MNIST_MODEL": model / "model.onnx"}
    ours = {"MNIST_PORT": port, "MNIST_WORKERS": contestant.workers}
    version = {"MNIST_MODEL_DIR": model.parent, "MNIST_MODEL_VERSION": model.name, "ORT_DISABLE_TELEMETRY": 1}
    return {name: str(value) for name, value in (others | ours | version).items()}


def _await_first(client: httpx.Client, contestant: Contestant, digits: Digits, server: Running) -> None:
    """Ask until the first right answer."""
    deadline = time.monotonic() + START_SECONDS
    form = next(iter(contestant.dialect))
    while problem := _problem(client, contestant, form, digits[:1]):
        if server.ended() or time.monotonic() > deadline:
            raise RefusedError(f"did not start: {problem}; its last words: {server.last_words()}")
        time.sleep(POLL_SECONDS)


def _drive(
    told: Visit, client: httpx.Client, contestant: Contestant, form: str, digits: Digits, *, seconds: int
) -> None:
    """Every load of one form, if it is answered right."""
    many = form in {MANY, MANY_BYTES}
    asked = [digits] if many else [digits[i : i + 1] for i in range(len(digits.labels))]
    for some in asked:
        if problem := _problem(client, contestant, form, some):
            told.refused[form] = problem
            return
    path, body_of = contestant.dialect[form]
    for load in LOADS if not many else [load for load in LOADS if not load.rate]:
        try:
            told.rounds[form, load] = drive(f"{client.base_url}{path}", body_of(digits.images), load, seconds)
        except subprocess.CalledProcessError as error:
            told.refused[form] = f"ended under {load.title} connections: {error.stderr or error.stdout}"
            return


def _problem(client: httpx.Client, contestant: Contestant, form: str, digits: Digits) -> str | None:
    """What is wrong with the answer to these digits."""
    path, body_of = contestant.dialect[form]
    body = body_of(digits.images)
    try:
        answer = client.post(path, content=body.content, headers=body.headers)
        if answer.is_error:
            return f"status {answer.status_code}: {answer.text[:200]}"
        found = bodies.digits(answer.json()) if contestant.answers else digits.labels
    except (httpx.HTTPError, ValueError, LookupError) as error:
        return f"{type(error).__name__}: {error}"
    return None if found == digits.labels else f"took {digits.labels} for {found}"
