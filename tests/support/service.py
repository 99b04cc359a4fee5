"""What many tests share: the committed model, pictures, and a real service in a process of its own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

import contextlib
import functools
import inspect
import os
import re
import shutil
import signal
import ssl
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from service.access import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models" / "mnist-mlp"
VERSION = "50"  # the newest that is committed
PATIENCE = 60  # seconds for what takes none on a machine that has time

# httpx makes a context for each call, and reads the machine's certificates: 30 ms, thousands of times.
ssl.create_default_context = functools.cache(ssl.create_default_context)  # type: ignore[assignment]
# A busy machine takes longer than the 5 s of httpx: this object is the default of all its functions and clients.
_timeout = inspect.signature(httpx.get).parameters["timeout"].default
_timeout.connect = _timeout.read = _timeout.write = _timeout.pool = PATIENCE


@dataclass
class Service:
    """A running `python -m service`."""

    url: str
    process: subprocess.Popen[str]
    grpc: str = ""  # HOST:PORT, where it answers gRPC
    metrics: str = ""  # the URL of its metrics

    def stop(self) -> int:
        """Ends it as an operator would; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def running_service(*, under: Sequence[str] = (), **settings: Any) -> Iterator[Service]:
    """Starts the service on a free port with `MNIST_<name>` settings, waits until it is ready, and ends it.

    `under` is a command that becomes the one after it, as prlimit does.
    """
    settings = {"port": 0, "workers": 1, "model_dir": MODELS, "model_version": VERSION} | settings
    environment = os.environ | {f"MNIST_{name.upper()}": str(value) for name, value in settings.items()}
    command = [*under, sys.executable, "-m", "service"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            addresses: dict[str, str] = {}
            for line in process.stdout:
                if found := re.fullmatch(r"  (\w+) +(\S+)\n", line):
                    addresses[found[1]] = found[2]
                if line.startswith("Ctrl-C"):
                    break
            else:
                pytest.fail(f"the service ended with exit code {process.wait()}")
            service = Service(
                addresses["page"].removesuffix("/"), process, addresses.get("gRPC", ""), addresses["metrics"]
            )
            answer = httpx.get(f"{service.url}/readyz", timeout=60)
            if "model_wait" not in settings:
                answer.raise_for_status()
            yield service
            service.stop()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its workers too, where a test has failed


@contextlib.contextmanager
def service_with_key(folder: Path) -> Iterator[tuple[Service, str]]:
    """A service that asks for a key, and a key for its predictions."""
    key, line = keys.new("shop", "infer", None)
    (folder / "keys.txt").write_text(line)
    with running_service(api_keys_file=folder / "keys.txt") as service:
        yield service, key


def until(true: Callable[[], object], what: str) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def publish(models: Path, version: int) -> None:
    """A committed version, whole at once, as export publishes."""
    shutil.copytree(MODELS / str(version), models / ".unfinished")
    (models / ".unfinished").rename(models / str(version))


def certificate(folder: Path, days: int = 2) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -days {days} -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split(), "-out", chain, "-keyout", key], capture_output=True, check=True)
    return chain, key
