"""Stop a batch on Ctrl-C or SIGTERM, when what is done is kept.

In: signals. Out: a flag, and a socket that can be read from then on. Its exit code is 128 and the signal's number, as
shells have it.
"""

from __future__ import annotations

import signal
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType


class Stopping:
    """A context manager in which signals stop the batch."""

    def __init__(self) -> None:
        self.number = 0  # of the signal that has come
        self.woken, self._waking = socket.socketpair()

    @property
    def stopped(self) -> bool:
        """Whether the batch is to stop."""
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """The exit code: 0 without a signal."""
        return 128 + self.number if self.number else 0

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self.woken.close()
        self._waking.close()

    def _stop(self, number: int, _: FrameType | None) -> None:
        if not self.number:
            self.number = number
            self._waking.send(b"!")
