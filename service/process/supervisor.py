"""The parent of several workers: as many live as there should be, and all are gone in time.

In: what each worker runs, the socket that all accept from, and signals. Out: SIGHUP replaces the workers one at a
time, without losing a request; SIGTERM and SIGINT end them. One that dies is replaced, and one that hangs is killed.
It waits for signals, signs of life and time in one place, and for nothing else. It knows no requests.
"""

from __future__ import annotations

import logging
import math
import select
import signal
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ..connection.drain import refuse_connections
from ..system import signals
from ..system.orphans import Orphans
from .heartbeat import MARGIN_SECONDS, TICK_SECONDS, Clock
from .worker_process import STARTUP_FAILURE, WorkerProcess
from .worker_slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..settings import Settings
    from .connection_counts import ConnectionCounts
    from .worker_process import Job

START_SECONDS = 60  # that a new worker gets to be ready
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)

log = logging.getLogger("service")


class _Replacement(NamedTuple):
    slot: WorkerSlot
    new: WorkerProcess


class Supervisor:
    """Workers that share a socket."""

    def __init__(self, settings: Settings, job: Job, listener: socket.socket, counts: ConnectionCounts) -> None:
        self._settings = settings
        self._listener = listener
        self._counts = counts
        self._clock = Clock()
        self._orphans = Orphans()
        self._signals: deque[int] = deque()
        self._slots = [WorkerSlot(job, self._clock) for _ in range(settings.workers)]
        self._to_replace: list[WorkerSlot] = []
        self._replacement: _Replacement | None = None
        self._leaving: list[WorkerProcess] = []
        self._served = False  # a worker has been ready
        self._failed = False  # no worker could start
        self._ends_at = self._refuses_at = math.inf  # seconds, monotonic

    def run(self) -> int:
        """Supervise until a signal comes and all have ended; the exit code."""
        self._woken, waking = socket.socketpair()
        for end in (self._woken, waking):
            end.setblocking(False)
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        for number in WATCHED:
            signal.signal(number, lambda number, _: self._signals.append(number))
        try:
            while not self._turn():
                self._wait()
        finally:
            signal.set_wakeup_fd(-1)
            for worker in self._all():
                worker.kill()
        return int(self._failed)

    def _all(self) -> Iterator[WorkerProcess]:
        yield from (slot.worker for slot in self._slots if slot.worker is not None)
        yield from self._leaving
        if self._replacement is not None:
            yield self._replacement.new

    def _wait(self) -> None:
        """Until something happens, or for a tick."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        hearts = {worker.heart: worker for worker in self._all() if worker.speaks}
        for heart in hearts:
            poll.register(heart, select.POLLIN)
        for descriptor, _ in poll.poll(TICK_SECONDS * 1e3):
            if descriptor in hearts:
                hearts[descriptor].listen()
            else:
                self._woken.recv(4096)

    def _turn(self) -> bool:
        """Do what is to be done now; True when all is done."""
        self._clock.tick()
        self._orphans.reap()
        while self._signals:
            self._follow(self._signals.popleft())
        self._leaving = [worker for worker in self._leaving if not worker.has_ended()]
        if self._ends_at < math.inf:
            return self._go_on_ending()
        for slot in self._slots:
            self._check_slot(slot)
        self._kill_those_that_hang()
        self._replace()
        return False

    def _follow(self, number: int) -> None:
        ending = self._ends_at < math.inf
        if number in signals.TERMINATING and not ending:
            self._begin_to_end()
        elif number == signal.SIGINT:  # somebody who presses Ctrl-C again does not want to wait
            for worker in self._all():
                worker.interrupt()
        elif number == signal.SIGHUP and not ending:
            self._to_replace = list(self._slots)

    def _check_slot(self, slot: WorkerSlot) -> None:
        worker = slot.worker
        if worker is not None:
            self._served = self._served or worker.ready
            if worker.has_ended():
                slot.on_ended()
                if worker.exit_code == STARTUP_FAILURE and not self._served:  # and so would every other
                    self._failed = True
                    log.error("no worker can start: the service ends")
                    self._begin_to_end()
        if self._ends_at == math.inf and slot.fill():
            self._assign_counts()

    def _assign_counts(self) -> None:
        self._counts.assign([slot.worker.pid for slot in self._slots if slot.worker is not None])

    def _kill_those_that_hang(self) -> None:
        patience = self._settings.stall_seconds + MARGIN_SECONDS if self._settings.stall_seconds else math.inf
        for worker in self._all():
            if worker.killed:
                continue
            if worker.terminated_at is not None:
                if self._clock.now - worker.terminated_at > self._settings.shutdown_seconds + MARGIN_SECONDS:
                    worker.kill()
            elif worker.ready and worker.silent_seconds > patience:
                worker.kill_with_stacks()
                log.critical("worker %d has shown no sign of life for %g s, and is killed", worker.pid, patience)
            elif not worker.ready and worker.seconds > START_SECONDS and patience < math.inf:
                worker.kill_with_stacks()
                log.critical("worker %d has not started within %g s, and is killed", worker.pid, START_SECONDS)

    def _replace(self) -> None:
        """Go on with replacing all workers: the next one leaves when another serves in its place."""
        if self._replacement is not None:
            self._go_on(self._replacement)
        elif self._to_replace and not self._leaving:
            slot = self._to_replace.pop(0)
            if slot.worker is not None:  # else it is being replaced anyway
                new = slot.start()
                if new is None:
                    self._to_replace.clear()
                else:
                    self._replacement = _Replacement(slot, new)

    def _go_on(self, replacement: _Replacement) -> None:
        slot, new = replacement
        if new.has_ended():
            log.error("a new worker did not start (%s): the others are kept as they are", new.reason)
            self._replacement = None
            self._to_replace.clear()
        elif new.ready:
            self._replacement = None
            old = slot.replace_worker(new)
            self._assign_counts()
            if old is not None:
                self._leaving.append(old)
                old.terminate()

    def _begin_to_end(self) -> None:
        """The socket is shared: who ends all workers closes it to new connections, shortly before they let go."""
        now, seconds = time.monotonic(), max(self._settings.shutdown_seconds, signals.LEAST_SECONDS)
        self._refuses_at = now + self._settings.drain_seconds
        self._ends_at = now + seconds - signals.LAST_SECONDS
        signals.kill_within(seconds + signals.LATE_SECONDS)
        for worker in self._all():
            worker.terminate()

    def _go_on_ending(self) -> bool:
        now = time.monotonic()
        if now >= self._refuses_at:
            self._refuses_at = math.inf
            refuse_connections(self._listener)
        living = [worker for worker in self._all() if not worker.has_ended()]
        if now >= self._ends_at:
            for worker in living:
                if not worker.killed:
                    log.warning("worker %d did not end in time, and is killed", worker.pid)
                    worker.kill()
        return not living or now >= self._ends_at + signals.LATE_SECONDS
