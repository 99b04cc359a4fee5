"""A file of values that other processes read, with disk space reserved for all of them.

In: keys and values. Out: a file in the format of `prometheus_client`, mapped into memory. The system kills a process
that writes to a mapped page when the disk is full, so the space is reserved first. Without space, a value stays in this
process's memory alone.
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

SIZE = 4096  # bytes of a new file
SLOT = 16  # bytes of a value and its time
ENTRY = 4 + 8 + SLOT  # bytes of a key and its value at most, besides the key's own

log = logging.getLogger("service")


class ReservedFile(MmapedDict):
    """prometheus_client's file, which reserves space first; without space, nobody else reads its values."""

    def __init__(self, path: str) -> None:
        try:
            reserve(Path(path), SIZE)
        except OSError as error:
            _log_full(error.errno)
            super().__init__(os.memfd_create("metrics"))  # type: ignore[no-untyped-call]
            self._full = True
        else:
            super().__init__(path)  # type: ignore[no-untyped-call]
            self._full = False

    def _init_value(self, key: str) -> None:
        """Add a slot for this key; without space, it is one slot behind all that is read."""
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
            _log_full(error.errno)
            self._full = True  # for good: a larger file would be read up to the last slot
        else:
            self._capacity, self._m = capacity, mmap.mmap(self._f.fileno(), capacity)


def reserve(path: Path, size: int) -> None:
    """Make a file of zeros that appears atomically, with its space reserved; raises `OSError` and leaves no file."""
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
def _log_full(reason: int) -> None:
    log.error("no room for metrics (%s): some of this worker's are not exported", errno.errorcode[reason])
