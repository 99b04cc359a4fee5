"""The processes of a server: started, weighed and ended, with all that they start themselves, however they do it.

In: a command. Out: a `Running` that tells whether it lives, what it said last and what memory its processes take. It
knows /proc, and nothing of HTTP. Linux alone has what it needs: a process whose parent has ended becomes a child of
this one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PR_SET_CHILD_SUBREAPER = 36
END_SECONDS = 15
POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Running:
    """A server's first process, the file that takes what it says, and whom this process had started before."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    others: frozenset[int]

    def ended(self) -> bool:
        """Has it ended by itself?"""
        return self.process.poll() is not None

    def last_words(self) -> str:
        """The last line, if any the last that names an error, that it or one of its processes wrote."""
        lines = [line.strip() for line in Path(self.log.name).read_text(errors="replace").split("\n") if line.strip()]
        return ([line for line in lines if "Error" in line] or lines or ["it said nothing"])[-1]

    def said(self, words: str) -> int:
        """How often it, or one of its processes, has written these words."""
        return Path(self.log.name).read_text(errors="replace").count(words)

    def children(self) -> list[int]:
        """The processes that its first process has started."""
        return _children(self.process.pid)

    def memory_mib(self) -> float:
        """Resident memory of all its processes; pages that several of them share are counted once."""
        return sum(_proportional_mib(pid) for pid in self._all())

    def cpu_seconds(self) -> float:
        """Of all its processes, and of those that have ended and were waited for."""
        return sum(map(cpu_seconds, self._all()))

    def end(self) -> None:
        """Ends them all: the first as an operator would, those that it leaves behind at once."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_SECONDS)
        while left := self._all():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                with contextlib.suppress(ChildProcessError):  # its own parent is told, not this process
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(POLL_SECONDS)

    def _all(self) -> list[int]:
        heads = set(_children(os.getpid())) - self.others
        return [pid for head in heads for pid in (head, *_below(head))]


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> Iterator[Running]:
    """Starts a command, in a folder; ends it, and whatever came of it, when the block ends."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    others = frozenset(_children(os.getpid()))
    with (
        tempfile.NamedTemporaryFile(prefix="serving-") as log,
        subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=log, stderr=log) as process,
    ):
        server = Running(process, log, others)
        try:
            yield server
        finally:
            server.end()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _below(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have started."""
    return [each for child in _children(pid) for each in (child, *_below(child))]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has just ended
            found += map(int, path.read_text().split())
    return found


def _proportional_mib(pid: int) -> float:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended, and nobody has asked how yet
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def cpu_seconds(pid: int) -> float:
    """Of a process until now, and of its children that it has waited for; 0 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
