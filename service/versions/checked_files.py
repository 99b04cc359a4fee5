"""Which files were checked by a process of this service, and whose turn it is to check others.

In: digests of files. Out: whether they were checked, and a lock. All workers share a file in memory, which they inherit
from their parent: what one has checked, the others load at once. It outlives workers, not the service; a worker that
dies holds no lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from ..errors import NotChecked
from ..system import shared_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIGEST_BYTES = 32  # bytes of a digest
MAX_DIGESTS = 64  # digests
POLL_SECONDS = 0.05


class CheckedFiles:
    """Digests of files that were checked, newest first, and a lock for the next check."""

    def __init__(self, descriptor: int | None = None) -> None:
        """They lie behind a `descriptor`, of a new memory where none is given."""
        self.descriptor = shared_memory.create(0) if descriptor is None else descriptor

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests()

    def add(self, digest: bytes) -> None:
        """These files were checked, by who has the turn."""
        os.pwrite(self.descriptor, b"".join([digest, *self._digests()[: MAX_DIGESTS - 1]]), 0)

    def _digests(self) -> list[bytes]:
        data = os.pread(self.descriptor, DIGEST_BYTES * MAX_DIGESTS, 0)
        return [data[start : start + DIGEST_BYTES] for start in range(0, len(data), DIGEST_BYTES)]

    @contextlib.contextmanager
    def turn(self, stopped: Callable[[], bool]) -> Iterator[None]:
        """Be the only worker that checks while the context is open; raises `NotChecked` when `stopped` says so."""
        while not self._locked():
            if stopped():
                raise NotChecked("nobody waits for the check of a model version any more")
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def _locked(self) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
