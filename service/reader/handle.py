"""One reader, as the worker sees it: a socket, and the job that the reader has.

In: a job. Out: the reader's messages. It knows how a job is sent, but not what its messages mean.
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
    """A body to read, and the items found in it so far."""

    header: dict[str, Any]
    body: Spool
    done: asyncio.Future[Message]  # the message that ends the job
    large: bool  # whether it needs a large reader
    items: list[Item] = field(default_factory=list)
    losses: int = 0  # readers that died during the job, for unknown reasons
    seconds: float = 0.0  # for which readers had it


class Reader:
    """A reader process; `on_message` is called with each of its messages, and with None for invalid bytes."""

    def __init__(
        self,
        number: int,
        connection: socket.socket,
        *,
        large: bool,
        max_images: int,
        on_message: Callable[[Reader, Message | None], None],
    ) -> None:
        self.number = number
        self.large = large
        self.job: Job | None = None
        self.parsed = False  # whether it has parsed the job's body
        self._connection = connection
        self._decoder = Decoder(max_images * IMAGE)
        self._on_message = on_message
        self.has_worked = False
        self.has_ended = False
        self._timer: asyncio.TimerHandle | None = None
        self._since = 0.0  # when the job began, perf_counter
        connection.setblocking(False)
        asyncio.get_running_loop().add_reader(connection, self._read)

    def begin(self, job: Job, seconds: float, on_hang: Callable[[Reader], None]) -> None:
        """Send a job; `on_hang` is called if the job takes longer than `seconds`.

        Raises `Overloaded` where the system has no memory for the body, and `OSError` where the reader has ended.
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
        self.watch(seconds, on_hang)

    def watch(self, seconds: float, on_hang: Callable[[Reader], None]) -> None:
        """Call `on_hang` after `seconds`, unless the job has ended before."""
        self._timer = asyncio.get_running_loop().call_later(seconds, on_hang, self)

    def release_job(self) -> Job | None:
        """Take the job back, and return it."""
        if self._timer is not None:
            self._timer.cancel()
        job, self.job = self.job, None
        if job is not None:
            job.seconds += time.perf_counter() - self._since
        return job

    def close(self) -> None:
        """Close the socket: the reader ends after its job."""
        if self._connection.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._connection)
            self._connection.close()

    def _read(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:  # the fork server reports how it ended
            self.has_ended = True
            asyncio.get_running_loop().remove_reader(self._connection)
            return
        try:
            for message in self._decoder.feed(data):
                self._on_message(self, message)
        except ProtocolError:
            self._on_message(self, None)


def _descriptor(body: Spool) -> int:
    try:
        return body.descriptor()
    except OSError as error:
        sentence = f"The system has no memory for this body now: {error.strerror}. Retry in 1 s."
        raise Overloaded(sentence, limit=body.size, retry_after_s=1) from error
