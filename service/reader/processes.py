"""Keep the reader processes of one worker alive.

In: the number of readers. Out: readers that can take a job, and how each has ended. A reader that ends is replaced at
once; after growing pauses, where readers end before their first job or cannot be started. It knows no job.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from .fork_server import ForkServer
from .handle import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from .jobs import Limits
    from .wire import Message

PAUSE_SECONDS, LONGEST_PAUSE = 0.1, 5.0
START_DESCRIPTORS = 4  # that the start of the fork server takes; each reader takes two
KILLED = "SIGKILL"  # by an operator, or by the system when memory is short

log = logging.getLogger("service")


class Callbacks(NamedTuple):
    """Functions to call when something happens to a reader."""

    message: Callable[[Reader, Message | None], None]
    ended: Callable[[Reader, str], None]  # with a signal's name, or a sentence
    changed: Callable[[], None]  # a reader may be free


class Processes:
    """Ordinary readers, and large readers, which are each started for one job."""

    def __init__(self, limits: Limits, large_limits: Limits, count: int, callbacks: Callbacks) -> None:
        self._limits, self._large_limits = limits, large_limits
        self._count = count
        self._callbacks = callbacks
        self._numbers = itertools.count()
        self._server: ForkServer | None = None
        self._readers: dict[int, Reader] = {}
        self._pause = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reserved: list[int] = []  # descriptors
        self._closed = True

    def open(self) -> None:
        """Allow readers to start, and reserve the descriptors of a start, which connections could take up."""
        self._closed = False
        self._reserved = [os.open(os.devnull, os.O_RDONLY) for _ in range(START_DESCRIPTORS + 2 * self._count)]

    def start_later(self, seconds: float) -> None:
        """Start readers after `seconds`, or earlier when they are needed."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._start_again)

    def ordinary(self) -> list[Reader]:
        """Return the ordinary readers; start them if there are none."""
        if self._server is None and not (self._pause or self._closed):
            self._start()
        return [reader for reader in self._readers.values() if not (reader.large or reader.has_ended)]

    def large(self) -> Reader | None:
        """Start a large reader; None where that is not possible now."""
        if self._server is None:
            return None
        try:
            return self._fork(self._server, large=True)
        except OSError as error:
            self._fail(error)
            return None

    def kill(self, reader: Reader) -> None:
        """Kill a reader; where the fork server does not obey, kill it with all readers."""
        assert self._server is not None
        try:
            self._server.kill(reader.number)
        except OSError:
            self._server.kill_all()

    def kill_all(self) -> None:
        """Kill the fork server and all readers."""
        if self._server is not None:
            self._server.kill_all()

    def close(self) -> None:
        """End all readers, for good."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._free_descriptors()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def worked(self) -> None:
        """End the growth of pauses: a reader has finished a job."""
        self._pause = 0.0

    def _start_again(self) -> None:
        self._start()
        self._callbacks.changed()

    def _start(self) -> None:
        """Start the readers that are missing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._free_descriptors()
        try:
            if self._server is None:
                self._server = ForkServer(self._reader_ended, self._server_ended)
            while sum(not reader.large for reader in self._readers.values()) < self._count:
                self._fork(self._server, large=False)
        except OSError as error:
            self._fail(error)

    def _free_descriptors(self) -> None:
        for descriptor in self._reserved:
            os.close(descriptor)
        self._reserved = []

    def _fail(self, error: OSError) -> None:
        log.error("no reader can be started: %s", error.strerror)
        self._start_after_pause()

    def _start_after_pause(self) -> None:
        self._pause = min(2 * self._pause or PAUSE_SECONDS, LONGEST_PAUSE)
        self.start_later(self._pause)

    def _fork(self, server: ForkServer, *, large: bool) -> Reader:
        limits = self._large_limits if large else self._limits
        number = next(self._numbers)
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                server.start_reader(number, theirs, limits)
            except BaseException:
                ours.close()
                raise
        reader = Reader(number, ours, large=large, max_images=limits.max_images, on_message=self._callbacks.message)
        self._readers[number] = reader
        return reader

    def _reader_ended(self, number: int, how: str) -> None:
        reader = self._readers.pop(number, None)
        if reader is None:
            return
        reader.close()
        if reader.large or reader.has_worked:
            self._start()
        else:
            self._start_after_pause()
        self._callbacks.ended(reader, how)
        self._callbacks.changed()

    def _server_ended(self) -> None:
        """Start again after a pause: the fork server and all readers have ended."""
        self._server = None
        readers, self._readers = list(self._readers.values()), {}
        self._start_after_pause()
        for reader in readers:
            reader.close()
            self._callbacks.ended(reader, KILLED)
        log.error("the process that starts readers has ended; another one is started in %g s", self._pause)
