"""Limits of a process that handles strangers' bytes: it ends with its parent, and has no more memory than it is given.

In: the parent's process id, and bytes. Out: nothing; the limits hold for the calling process from then on. It does not
know what the process does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# What decides how Python and its libraries run; the rest of the environment may hold secrets.
ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PATH")


def environment() -> dict[str, str]:
    """What such a process is started with: no secret of this one, and no threads of NumPy's."""
    kept = {name: value for name, value in os.environ.items() if name in ENVIRONMENT or name.startswith("PYTHON")}
    return kept | {"OPENBLAS_NUM_THREADS": "1"}


def end_with(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the system send this process a signal when the thread that started it ends, however that happens.

    Outside of Linux nothing happens.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended before this could be asked
            os.kill(os.getpid(), number)


def limit_memory(size: int) -> None:
    """Let this process map no more than `size` bytes beyond what it has mapped now; it leaves no core file."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + size, mapped + size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
