"""State that all workers share: the last command, the canary given up last, what serves, checked files.

In: what one worker was asked to do, or found. Out: the same in every worker, by memory that all inherit
(`service.system.memory`). It outlives workers, but not the service.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from ..errors import NotChecked
from ..system import memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableSequence

NUMBERS = 4
DIGEST_BYTES = 32
MAX_DIGESTS = 64
POLL_SECONDS = 0.05


class SharedState:
    """A count of commands, odd after a command to unload; the canary given up last; and checked files.

    The process that follows a source of versions shares it too: it knows what serves, and whether it is to poll now.
    """

    def __init__(self, *, shared: bool, descriptor: int | None = None) -> None:
        """With `shared`, the numbers are behind this descriptor, or behind a new one where it is None."""
        self.checked_files = CheckedFiles()
        self._numbers: MutableSequence[int] = [0] * NUMBERS
        self.descriptor = descriptor
        if shared:
            self.descriptor = memory.share_numbers(NUMBERS) if descriptor is None else descriptor
            self._numbers = memory.shared_numbers(NUMBERS, self.descriptor)

    @property
    def command(self) -> int:
        """The number of the last command: another number is another command."""
        return self._numbers[0]

    @property
    def unloaded(self) -> bool:
        """Whether no version is to serve."""
        return self.command % 2 == 1

    def load(self) -> None:
        """Command all workers to serve the chosen version, and to try again what was refused."""
        self._numbers[0] += 2 - self.command % 2

    def unload(self) -> None:
        """Command all workers to serve no version."""
        self._numbers[0] += 1 - self.command % 2

    def give_up(self, written: int) -> bool:
        """Stop the canary whose file was written then, in nanoseconds; False where a worker has stopped it before."""
        first = not self.gave_up(written)
        self._numbers[1] = written
        return first

    def gave_up(self, written: int) -> bool:
        """Whether the canary whose file was written then stays stopped, until the file is written again."""
        return self._numbers[1] == written

    @property
    def serving(self) -> int:
        """The version that a worker serves since it changed last; 0: none."""
        return self._numbers[2]

    @serving.setter
    def serving(self, number: int) -> None:
        self._numbers[2] = number

    @property
    def polls(self) -> int:
        """How often an operator has asked for a poll of the source."""
        return self._numbers[3]

    def ask_for_poll(self) -> None:
        """Ask for a poll of the source now."""
        self._numbers[3] += 1


class CheckedFiles:
    """Digests of files that a process of this service has checked, newest first, and a lock for the next check.

    What one worker has checked, the others load at once. A worker that dies holds no lock.
    """

    def __init__(self) -> None:
        self.descriptor = memory.anonymous_file("mnist-mlp")

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests()

    def add(self, digest: bytes) -> None:
        """Remember that these files are good; the caller holds the lock."""
        os.pwrite(self.descriptor, b"".join([digest, *self._digests()[: MAX_DIGESTS - 1]]), 0)

    def _digests(self) -> list[bytes]:
        data = os.pread(self.descriptor, DIGEST_BYTES * MAX_DIGESTS, 0)
        return [data[start : start + DIGEST_BYTES] for start in range(0, len(data), DIGEST_BYTES)]

    @contextlib.contextmanager
    def locking(self, stopped: Callable[[], bool]) -> Iterator[None]:
        """Hold the lock while the context is open; raises `NotChecked` when `stopped` returns True."""
        while not self._try_lock():
            if stopped():
                raise NotChecked("the check of a model version was abandoned")
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
