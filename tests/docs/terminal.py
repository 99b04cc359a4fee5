"""A terminal in a fresh copy of the repository: it runs what the documents tell people to type.

The service's port is a free one; commands and outputs have 8000 in its place.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

NUMBER = re.compile(r"(?<!\"digit\":)\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
SERVES = re.compile(r"(?:\w+=\S+ )*make (?:up|serve)\b")
READY = "Ctrl-C ends it."


class Terminal:
    """A shell in `folder`, and the service that was started in it last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._service: subprocess.Popen[str] | None = None
        self._port = str(_free_port())
        _copy(folder)

    def run(self, command: str) -> str:
        """What a command prints; `make up` and `make serve` go on in the background once they answer."""
        command = command.replace("8000", self._port)
        output = self._serve(command) if SERVES.match(command) else self._finish(command)
        return output.replace(self._port, "8000")

    def python(self, program: str, interpreter: Path) -> None:
        """Run a program as one pastes it."""
        self._service or self._serve("make serve")
        text = program.replace("8000", self._port)
        subprocess.run([interpreter, "-c", text], cwd=self.folder, timeout=60, check=True)

    def close(self) -> None:
        """End the service with Ctrl-C."""
        if self._service is not None:
            os.killpg(self._service.pid, signal.SIGINT)
            self._service.communicate(timeout=60)
            self._service = None

    def _finish(self, command: str) -> str:
        if "localhost" in command or "service.client" in command:
            self._service or self._serve("make serve")
        run = subprocess.run(
            ["bash", "-c", self._at_port(command)],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert run.returncode == 0, (command, run.stdout)
        return run.stdout

    def _serve(self, command: str) -> str:
        self.close()
        with (self.folder / "service.log").open("w") as log:
            self._service = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._service.stdout is not None
        lines = []
        for line in self._service.stdout:
            lines.append(line)
            if line.startswith(READY):
                return "".join(lines)
        raise AssertionError((command, "".join(lines), (self.folder / "service.log").read_text()))

    def _at_port(self, command: str) -> str:
        """The command, with the service's URL for the client, whose default is port 8000."""
        return command.replace("-m service.client", f"-m service.client --url http://127.0.0.1:{self._port}")

    def _environment(self) -> dict[str, str]:
        return os.environ | {"MNIST_PORT": self._port, "MNIST_WORKERS": "1"}


def masked(text: str) -> str:
    """A text without spaces, and with each number masked; the digit of a prediction stays."""
    return re.sub(r"\s", "", NUMBER.sub("0", text))


def matches(expected: str, output: str) -> bool:
    """Whether an output is as the document shows it: `…` stands for any text, numbers for numbers."""
    pattern = ".*".join(map(re.escape, masked(expected).split("…")))
    return re.fullmatch(pattern, masked(output)) is not None


def _free_port() -> int:
    """A port below those that the system gives to connections, which could take it before the service does."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _copy(folder: Path) -> None:
    """The repository's own files, as they are now, with the environment that runs the tests."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for lock in (folder / "requirements").iterdir():
        os.utime(lock, (0, 0))  # so that make takes the environment for up to date
    (folder / ".venv").symlink_to(sys.prefix)
