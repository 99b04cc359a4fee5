"""A service's processes: who they are, what they hold, and mounts of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from service.process.worker_process import NAME
from tests.support.pictures import drawn, png
from tests.support.service import ROOT

if TYPE_CHECKING:
    from tests.support.service import Service

BLOCKING = ROOT / "tests" / "support" / "blocking"
needs_root = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root, and unshare")


def worker_pids(service: Service) -> list[int]:
    """The processes that answer, and those that will."""
    pids = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return [pid for pid in map(int, pids) if is_worker(pid)]


def is_worker(pid: int) -> bool:
    """Whether it is one of several; a zombie is none."""
    try:
        return command(pid) != b"" and Path(f"/proc/{pid}/comm").read_text() == f"{NAME}\n"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors(service: Service) -> int:
    return len(os.listdir(f"/proc/{service.process.pid}/fd"))  # noqa: PTH208


def processes_of_session(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found


def open_files(pid: int) -> list[str]:
    """Paths of the files that a process has open, and names of its pipes and sockets."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(descriptor.readlink()))
    return found


def socket_inodes(pid: int) -> set[str]:
    """Inodes of the sockets that a process holds."""
    return {name[8:-1] for name in open_files(pid) if name.startswith("socket:[")}


def connections_of(pid: int, port: int) -> int:
    """How many TCP connections to this port a process holds."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    open_ones = {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] in {"01", "08"}}
    return len(socket_inodes(pid) & open_ones)


def with_mounts(mounts: str) -> list[str]:
    """A command that makes these mounts, for itself alone, and becomes the one after it."""
    return ["unshare", "--mount", "sh", "-ec", f'{mounts}; exec "$@"', "sh"]


def children(pid: int) -> list[int]:
    """The processes that it has started, and those that these have, with zombies; /proc is read once for all."""
    started: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        started.setdefault(parent, []).append(int(path.parent.name))
    found, line = [], [pid]
    while line:
        line += (below := started.get(line.pop(), []))
        found += below
    return found


def readers_of(pid: int) -> list[int]:
    """Those of them that read: not the process that forks them."""
    found = [child for child in children(pid) if b"service.reader" in command(child)]
    return [child for child in found if parent(child) in found]


def command(pid: int) -> bytes:
    """Its command line; nothing of a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def parent(pid: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def warm_reader(service: Service) -> None:
    """Have a reader read something, so that it is there."""
    answer = httpx.post(f"{service.url}/predict", content=png(drawn(300)), timeout=60)
    assert answer.status_code == 200


def most_memory(pid: int) -> int:
    """The most bytes that a process has held since `forget_memory`."""
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def resident(pid: int) -> int:
    """The bytes of memory that a process holds."""
    (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def forget_memory(pid: int) -> None:
    """Lets the count begin anew (Linux, proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
