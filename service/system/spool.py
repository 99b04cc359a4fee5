"""A request's body as it grows: in memory while it is small, and beyond that in a file that lies in memory.

In: pieces of a body. Out: its bytes while it is small, or a descriptor that another process can read it from, without
a copy here. It does not know what a body holds.
"""

from __future__ import annotations

import os
import tempfile

SMALL = 65_536  # bytes: what is larger is not taken apart in the event loop
IN_MEMORY = 2**20  # bytes: a descriptor for each body of more, of which few fit into a worker's budget


class Spool:
    """One body; to be closed."""

    def __init__(self, data: bytes = b"") -> None:
        self.size = 0
        self._data = bytearray()
        self._descriptor: int | None = None
        self.write(data)

    @property
    def small(self) -> bytes | None:
        """All of it, where it is small."""
        return bytes(self._data) if self.size <= SMALL else None

    def write(self, piece: bytes) -> None:
        """Add a piece; raises `OSError` where the system has no descriptor or no memory for it."""
        self.size += len(piece)
        if self._descriptor is not None:
            _write(self._descriptor, piece)
            return
        self._data += piece
        if self.size > IN_MEMORY:
            self._move()

    def descriptor(self) -> int:
        """Where another process can read it; open until `close`. Raises `OSError`, as `write` does."""
        if self._descriptor is None:
            self._move()
        assert self._descriptor is not None
        return self._descriptor

    def close(self) -> None:
        """Let go of it."""
        self._data = bytearray()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _move(self) -> None:
        self._descriptor = _file_in_memory()
        _write(self._descriptor, self._data)
        self._data = bytearray()


def _file_in_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("body")
    with tempfile.TemporaryFile() as file:  # outside of Linux
        return os.dup(file.fileno())


def _write(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
