"""Confine a process that handles untrusted bytes: it ends with its parent, and its memory is limited.

In: the parent's process id, and a number of bytes. Out: limits of the calling process, for the rest of its life.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Variables that Python and its libraries need; the rest of the environment may hold secrets.
ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PATH")


def environment() -> dict[str, str]:
    """Return the environment for such a process: without secrets, and without threads of NumPy."""
    kept = {name: value for name, value in os.environ.items() if name in ENVIRONMENT or name.startswith("PYTHON")}
    return kept | {"OPENBLAS_NUM_THREADS": "1"}


def end_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the system send this process a signal when the thread that started it ends; Linux only."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # the parent ended before the request
            os.kill(os.getpid(), number)


def silence() -> None:
    """Let nothing that a library prints, such as libtiff's errors, reach the log or wait for somebody to read it."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def limit_memory(size: int) -> None:
    """Let this process map at most `size` bytes beyond what it has mapped now, and write no core file."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + size, mapped + size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
