"""Numbers in memory that the processes of a service share.

In: how many. Out: a file descriptor, which is handed over when a worker is started, and the numbers behind it, 64 bits
each. The memory has no name in any folder, so that a full or read-only disk does not matter. They need no lock: each
number has one who writes it, or is whole whoever wrote it last.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableSequence

BYTES = 8  # of a number


def create(count: int) -> int:
    """A descriptor of so many zeros; raises `OSError`."""
    descriptor = _memory()
    os.ftruncate(descriptor, count * BYTES)
    return descriptor


def _memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mnist-mlp")
    with tempfile.TemporaryFile() as file:  # outside of Linux
        return os.dup(file.fileno())


def numbers(descriptor: int) -> MutableSequence[int]:
    """The numbers behind a descriptor."""
    return memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size)).cast("q")  # type: ignore[return-value]
