"""A request's body as it grows: in memory while it is small, beyond that in an anonymous file.

In: pieces of a body. Out: its bytes while it is small, or a descriptor from which another process reads it without a
copy in this one. It does not know what a body holds.
"""

from __future__ import annotations

import os

from . import memory

SMALL = 65_536  # bytes: a larger body is not parsed in the event loop
IN_MEMORY = 2**20  # bytes: a larger body takes a descriptor, and few such bodies fit into a worker's budget


class Spool:
    """One body; its user closes it."""

    def __init__(self, data: bytes = b"") -> None:
        self.size = len(data)
        self._data: bytes | bytearray = data  # not copied: whoever gave it may count it
        self._descriptor: int | None = None

    @property
    def small(self) -> bytes | None:
        """All of the body, if it is small."""
        return bytes(self._data) if self.size <= SMALL else None

    def write(self, piece: bytes) -> None:
        """Add a piece; raises `OSError` where the system has no descriptor or no memory for it."""
        self.size += len(piece)
        if self._descriptor is not None:
            _write(self._descriptor, piece)
            return
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += piece
        if self.size > IN_MEMORY:
            self._move_to_file()

    def descriptor(self) -> int:
        """Return the descriptor of the body's file, open until `close`; raises `OSError`, as `write` does."""
        if self._descriptor is None:
            self._move_to_file()
        assert self._descriptor is not None
        return self._descriptor

    def close(self) -> None:
        """Free the body."""
        self._data = bytearray()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _move_to_file(self) -> None:
        self._descriptor = memory.anonymous_file("body")
        _write(self._descriptor, self._data)
        self._data = bytearray()


def _write(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
