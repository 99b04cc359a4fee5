"""A file of numbers that other processes read, in which there is room for all that is written to it.

In: keys and numbers. Out: a file in the format of `prometheus_client`, mapped into memory. The system ends a process
that writes to a mapped page without room, so room is reserved before. Where none can be had, a number is kept in this
process's memory alone. It knows neither metrics nor other processes.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import mmap
import os
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

SIZE = 4096  # bytes of a file at first
SLOT = 16  # bytes of a number, with its time
ENTRY = 4 + 8 + SLOT  # bytes that a key and its number take at most, beside the key itself

log = logging.getLogger("service")


class ReservedFile(MmapedDict):
    """prometheus_client's file, which reserves room first; without room, numbers that nobody else reads."""

    def __init__(self, path: str) -> None:
        try:
            reserve(Path(path), SIZE)
        except OSError as error:
            _tell(error.errno)
            super().__init__(os.memfd_create("metrics"))  # type: ignore[no-untyped-call]
            self._full = True
        else:
            super().__init__(path)  # type: ignore[no-untyped-call]
            self._full = False

    def _init_value(self, key: str) -> None:
        """Make a place for the number of this key; without room it is one behind all that is read."""
        if self._has_room(len(key.encode()) + ENTRY + SLOT):
            super()._init_value(key)  # type: ignore[no-untyped-call]
        else:
            self._m[-SLOT:] = bytes(SLOT)
            self._positions[key] = self._capacity - SLOT

    def _has_room(self, size: int) -> bool:
        needed = self._used + size
        if needed > self._capacity and not self._full:
            self._grow(needed)
        return bool(needed <= self._capacity)

    def _grow(self, needed: int) -> None:
        capacity = self._capacity
        while capacity < needed:
            capacity *= 2
        try:
            os.posix_fallocate(self._f.fileno(), 0, capacity)
        except OSError as error:
            _tell(error.errno)
            self._full = True  # for good: what is in its last place now would be overwritten
        else:
            self._capacity, self._m = capacity, mmap.mmap(self._f.fileno(), capacity)


def reserve(path: Path, size: int) -> None:
    """Make a file that appears at once, with zeros and room for all of them; raises `OSError`, and leaves nothing."""
    unfinished = path.with_suffix(".new")
    try:
        with unfinished.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        unfinished.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


@functools.cache  # once for each reason
def _tell(reason: int) -> None:
    log.error("no room for metrics (%s): some of this worker's are not exported", errno.errorcode[reason])
