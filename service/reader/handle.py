"""One reader, as the worker sees it: a socket, and the job that its process has.

In: a job. Out: the messages that come of it. It knows how a job is sent, and not what becomes of it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import Overloaded
from .results import IMAGE
from .wire import Decoder, Message, ProtocolError, send

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..system.spool import Spool
    from .results import Item

_READ_BYTES = 2**15  # bytes read at once


@dataclass(eq=False)
class Job:
    """A body to be read, and what has been found in it."""

    header: dict[str, Any]
    body: Spool
    done: asyncio.Future[Message]  # the message that ends it
    large: bool  # it needs a reader that may take more
    items: list[Item] = field(default_factory=list)
    losses: int = 0  # readers that ended with it, without its fault
    seconds: float = 0.0  # that readers had it


class Reader:
    """A process that reads; `heard` gets each of its messages, and None for what is no message."""

    def __init__(
        self,
        number: int,
        connection: socket.socket,
        *,
        large: bool,
        max_images: int,
        heard: Callable[[Reader, Message | None], None],
    ) -> None:
        self.number = number
        self.large = large
        self.job: Job | None = None
        self.parsed = False  # it has parsed the job's body
        self._connection = connection
        self._decoder = Decoder(max_images * IMAGE)
        self._heard = heard
        self.has_worked = False
        self.has_ended = False
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0  # when it began, perf_counter
        connection.setblocking(False)
        asyncio.get_running_loop().add_reader(connection, self._hear)

    def begin(self, job: Job, seconds: float, hangs: Callable[[Reader], None]) -> None:
        """Have it read a job; `hangs` is called when it takes longer.

        Raises `Overloaded` where the system has no room for the body, and `OSError` where the reader has ended.
        """
        self.job, self.parsed, self._since = job, False, time.perf_counter()
        self.has_worked = True
        header = job.header | {"first": len(job.items)}
        small = job.body.small
        descriptor = _descriptor(job.body) if small is None else None
        try:
            send(self._connection, Message(header, small or b""), descriptor)
        except OSError:
            self.has_ended = True
            raise
        self.watch(seconds, hangs)

    def watch(self, seconds: float, hangs: Callable[[Reader], None]) -> None:
        """Call `hangs` after so many seconds, unless its turn has ended."""
        self._timer = asyncio.get_running_loop().call_later(seconds, hangs, self)

    def end_turn(self) -> Job | None:
        """Take its job from it."""
        if self._timer is not None:
            self._timer.cancel()
        job, self.job = self.job, None
        if job is not None:
            job.seconds += time.perf_counter() - self._since
        return job

    def close(self) -> None:
        """Hear no more of it; without a job it ends."""
        if self._connection.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._connection)
            self._connection.close()

    def _hear(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:  # the fork server tells how it has ended
            self.has_ended = True
            asyncio.get_running_loop().remove_reader(self._connection)
            return
        try:
            for message in self._decoder.feed(data):
                self._heard(self, message)
        except ProtocolError:
            self._heard(self, None)


def _descriptor(body: Spool) -> int:
    try:
        return body.descriptor()
    except OSError as error:
        sentence = f"The system has no room for this body now: {error.strerror}. Come back in 1 s."
        raise Overloaded(sentence, limit=body.size, retry_after_s=1) from error
