"""The reader processes of one worker: as many as there should be, and more of them when some have ended.

In: how many there are to be. Out: readers that can have a job, and how each has ended. A reader that ends is replaced
at once; where readers end before they do anything, or none can be started, with growing pauses. It knows no job.
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
START_DESCRIPTORS = 4  # descriptors that starting the process takes; each reader takes two
KILLED = "SIGKILL"  # by somebody, or by the system for want of memory

log = logging.getLogger("service")


class Hears(NamedTuple):
    """Who hears of the readers."""

    message: Callable[[Reader, Message | None], None]
    ended: Callable[[Reader, str], None]  # a signal's name, or a sentence
    changed: Callable[[], None]  # there may be a reader without a job


class Processes:
    """Readers of the ordinary kind, and large ones, each started for one job."""

    def __init__(self, limits: Limits, large_limits: Limits, count: int, hears: Hears) -> None:
        self._limits, self._large_limits = limits, large_limits
        self._count = count
        self._hears = hears
        self._numbers = itertools.count()
        self._server: ForkServer | None = None
        self._readers: dict[int, Reader] = {}
        self._pause = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._kept: list[int] = []  # descriptors
        self._closed = True

    def open(self) -> None:
        """Let readers be started; descriptors that a start takes are kept, so that connections leave them some."""
        self._closed = False
        self._kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(START_DESCRIPTORS + 2 * self._count)]

    def start_later(self, seconds: float) -> None:
        """Start them after so many seconds; earlier when they are needed."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._start_again)

    def ordinary(self) -> list[Reader]:
        """Those that are there, of the ordinary kind; started if none is."""
        if self._server is None and not (self._pause or self._closed):
            self._start()
        return [reader for reader in self._readers.values() if not (reader.large or reader.has_ended)]

    def large(self) -> Reader | None:
        """A new large one; None where there can be none now."""
        if self._server is None:
            return None
        try:
            return self._fork(self._server, large=True)
        except OSError as error:
            self._fail(error)
            return None

    def kill(self, reader: Reader) -> None:
        """End a reader that does not end by itself; one that is stopped goes with all others."""
        assert self._server is not None
        try:
            self._server.kill(reader.number)
        except OSError:
            self._server.kill_all()

    def kill_all(self) -> None:
        """End all of them, and the process that forks them."""
        if self._server is not None:
            self._server.kill_all()

    def close(self) -> None:
        """End all of them for good."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._give_descriptors()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def worked(self) -> None:
        """A reader has read something: starting another needs no pause."""
        self._pause = 0.0

    def _start_again(self) -> None:
        self._start()
        self._hears.changed()

    def _start(self) -> None:
        """Start what is missing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._give_descriptors()
        try:
            if self._server is None:
                self._server = ForkServer(self._reader_ended, self._server_ended)
            while sum(not reader.large for reader in self._readers.values()) < self._count:
                self._fork(self._server, large=False)
        except OSError as error:
            self._fail(error)

    def _give_descriptors(self) -> None:
        for descriptor in self._kept:
            os.close(descriptor)
        self._kept = []

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
        reader = Reader(number, ours, large=large, max_images=limits.max_images, heard=self._hears.message)
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
        self._hears.ended(reader, how)
        self._hears.changed()

    def _server_ended(self) -> None:
        """All readers have ended with it."""
        self._server = None
        readers, self._readers = list(self._readers.values()), {}
        self._start_after_pause()
        for reader in readers:
            reader.close()
            self._hears.ended(reader, KILLED)
        log.error("the process that starts readers has ended; another one is started in %g s", self._pause)
