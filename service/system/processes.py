"""Processes as the system counts them: their children, memory, CPU time and descriptors; Linux only.

In: process ids. Out: numbers, from some files below /proc for each process; nothing of one that has ended. It knows
neither which processes the service has nor why.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Process(NamedTuple):
    """What a process uses."""

    pid: int
    name: str  # as `set_name` or its file has it
    started: int  # ticks since the machine's start: with the process id, it names one process for good
    seconds: float  # CPU time
    seconds_of_children: float  # CPU time of children that have ended, and of theirs
    resident_bytes: int
    open_fds: int


def open_missing() -> None:
    """Open /dev/null as stdin, stdout and stderr where they are closed, so that no other file takes their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the system gives it this number, the lowest


def close_others(kept: Iterable[int]) -> None:
    """Close the descriptors of this process but these, and stdin, stdout and stderr (Linux only)."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        found.update(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - names are enough
    for number in found - {0, 1, 2, *kept}:
        with contextlib.suppress(OSError):  # that of the folder itself
            os.close(number)


def zombies() -> set[int]:
    """Return the children of this process that have ended, and for which nobody has waited."""
    found = set()
    with contextlib.suppress(OSError):
        for path in Path("/proc/self/task").glob("*/children"):
            found |= {pid for pid in map(int, path.read_text().split()) if _has_ended(pid)}
    return found


def _has_ended(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return False


def set_name(name: str) -> None:
    """Give this process a name of 15 bytes at most, which `ps` and `top` show."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def read(pid: int) -> Process | None:
    """Return what a process uses; None where it has ended."""
    with contextlib.suppress(OSError):
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(") ")
        fields = rest.split()  # proc_pid_stat(5), from the third on
        user, system, children_user, children_system = (int(ticks) for ticks in fields[11:15])
        per_second = os.sysconf("SC_CLK_TCK")
        return Process(
            pid,
            name,
            int(fields[19]),
            (user + system) / per_second,
            (children_user + children_system) / per_second,
            int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
            _open_fds(pid),
        )
    return None


def children(pid: int) -> list[Process]:
    """Return the processes that the main thread of a process has started."""
    with contextlib.suppress(OSError):
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [process for child in map(int, pids) if (process := read(child)) is not None]
    return []


def _open_fds(pid: int) -> int:
    folder = f"/proc/{pid}/fd"
    # Since Linux 6.2 the size of the folder is their number: a list of ten thousand would take milliseconds.
    return os.stat(folder).st_size or len(os.listdir(folder))  # noqa: PTH116, PTH208
