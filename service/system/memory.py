"""Memory: anonymous files, numbers that the service's processes share, and freed memory given back to the system.

In: counts and descriptors. Out: descriptors, which a child process may inherit, and numbers of 64 bits, which a fork
shares. An anonymous file has no name in any folder, so that a full or read-only disk does not matter.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableSequence

NUMBER_BYTES = 8
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


def anonymous_file(name: str) -> int:
    """Return the descriptor of an empty file in memory; raises `OSError`."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:  # outside of Linux
        return os.dup(file.fileno())


def share_numbers(count: int) -> int:
    """Return a descriptor of `count` zeros, for a program that inherits it; raises `OSError`."""
    descriptor = anonymous_file("mnist-mlp")
    os.ftruncate(descriptor, count * NUMBER_BYTES)
    return descriptor


def shared_numbers(count: int, descriptor: int = -1) -> MutableSequence[int]:
    """Return numbers that processes share which are forked from now on, or those behind a descriptor; raises `OSError`.

    They need no lock: a number has one writer, or is right whoever wrote it last.
    """
    return memoryview(mmap.mmap(descriptor, count * NUMBER_BYTES)).cast("q")  # type: ignore[return-value]


def trim() -> None:
    """Give freed memory that glibc keeps back to the system, in some milliseconds; other C libraries keep little."""
    if _TRIM is not None:
        _TRIM(0)
