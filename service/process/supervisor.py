"""Supervise several workers: keep as many alive as configured, and end all in time.

In: the workers' work, the sockets that all accept on, and signals. Out: SIGHUP replaces the workers one at a time
without losing a request; SIGTERM and SIGINT end them. A worker that dies is replaced, and one that hangs is killed.
Only one place waits, for signals, heartbeats and time. It knows no requests.
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
from . import ports
from .heartbeat import MARGIN_SECONDS, TICK_SECONDS, Clock
from .worker_process import PORT_REFUSED, STARTUP_FAILURE, WorkerProcess
from .worker_slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..settings import Settings
    from .connection_counts import ConnectionCounts
    from .restarts import Restarts
    from .worker import Work

START_SECONDS = 60  # for a new worker to be ready
WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)

log = logging.getLogger("service")


class _Replacement(NamedTuple):
    slot: WorkerSlot
    new: WorkerProcess


class Supervisor:
    """The parent of workers that share a socket."""

    def __init__(
        self,
        settings: Settings,
        work: Work,
        listeners: Sequence[socket.socket],
        counts: ConnectionCounts,
        restarts: Restarts,
        *,
        on_hangup: Callable[[], object],
    ) -> None:
        """`on_hangup` is called before SIGHUP replaces the workers. Workers that are left at the end are killed."""
        signals.at_end.callback(self._kill_all)
        self._on_hangup = on_hangup
        self._settings = settings
        self._listeners = listeners
        self._counts = counts
        self._restarts = restarts
        self._clock = Clock()
        self._orphans = Orphans()
        self._signals: deque[int] = deque()
        self._slots = [WorkerSlot(work, self._clock) for _ in range(settings.workers)]
        self._to_replace: list[WorkerSlot] = []
        self._replacement: _Replacement | None = None
        self._leaving: list[WorkerProcess] = []
        self._served = False  # whether any worker has been ready
        self._failed = False  # whether no worker could start
        self._ends_at = self._refuses_at = math.inf  # seconds, monotonic

    def run(self, on_serving: Callable[[], object]) -> int:
        """Supervise until a signal comes and all workers have ended; return the exit code. Raises `PortRefused`.

        `on_serving` is called when the first worker serves.
        """
        self._on_serving = on_serving
        self._woken, waking = socket.socketpair()
        for end in (self._woken, waking):
            end.setblocking(False)
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        for number in WATCHED:
            signal.signal(number, lambda number, _: self._signals.append(number))
        try:
            while not self._step():
                self._wait()
        finally:
            signal.set_wakeup_fd(-1)
        return int(self._failed)

    def _kill_all(self) -> None:
        for worker in self._all():
            worker.kill()

    def _all(self) -> Iterator[WorkerProcess]:
        yield from (slot.worker for slot in self._slots if slot.worker is not None)
        yield from self._leaving
        if self._replacement is not None:
            yield self._replacement.new

    def _wait(self) -> None:
        """Wait until something happens, or for a tick."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        hearts = {worker.heart: worker for worker in self._all() if worker.connected}
        for heart in hearts:
            poll.register(heart, select.POLLIN)
        for descriptor, _ in poll.poll(TICK_SECONDS * 1e3):
            if descriptor in hearts:
                hearts[descriptor].read_heartbeats()
            else:
                self._woken.recv(4096)

    def _step(self) -> bool:
        """Do what is due now; return True when all workers have ended."""
        self._clock.tick()
        self._orphans.reap()
        while self._signals:
            self._handle_signal(self._signals.popleft())
        self._leaving = [worker for worker in self._leaving if not worker.has_ended()]
        if self._ends_at < math.inf:
            return self._continue_shutdown()
        for slot in self._slots:
            self._check_slot(slot)
        self._kill_hanging_workers()
        self._replace()
        return False

    def _handle_signal(self, number: int) -> None:
        ending = self._ends_at < math.inf
        if number in signals.TERMINATING and not ending:
            self._begin_shutdown()
        elif number == signal.SIGINT:  # Ctrl-C again: do not wait for requests
            for worker in self._all():
                worker.interrupt()
        elif number == signal.SIGHUP and not ending:
            self._on_hangup()
            self._to_replace = list(self._slots)

    def _check_slot(self, slot: WorkerSlot) -> None:
        worker = slot.worker
        if worker is not None:
            if worker.ready and not self._served:
                self._served = True
                self._on_serving()
            if worker.has_ended():
                if worker.exit_code == PORT_REFUSED:
                    ports.listen(self._listeners)  # raises, in one line for all workers
                slot.on_ended()
                self._restarts.count(worker.restart_reason)
                if worker.exit_code == STARTUP_FAILURE and not self._served:  # every other worker would fail too
                    self._failed = True
                    log.error("no worker can start: the service ends")
                    self._begin_shutdown()
        if self._ends_at == math.inf and slot.fill():
            self._assign_counts()

    def _assign_counts(self) -> None:
        self._counts.assign([slot.worker.pid for slot in self._slots if slot.worker is not None])

    def _kill_hanging_workers(self) -> None:
        limit = self._settings.stall_seconds + MARGIN_SECONDS if self._settings.stall_seconds else math.inf
        for worker in self._all():
            if worker.killed:
                continue
            if worker.terminated_at is not None:
                if self._clock.now - worker.terminated_at > self._settings.shutdown_seconds + MARGIN_SECONDS:
                    worker.kill()
            elif worker.ready and worker.silent_seconds > limit:
                fields = {"fields": {"stacks": worker.kill_with_stacks()}}
                log.critical("worker %d has sent no heartbeat for %g s, and is killed", worker.pid, limit, extra=fields)
            elif not worker.ready and worker.seconds > START_SECONDS and limit < math.inf:
                fields = {"fields": {"stacks": worker.kill_with_stacks()}}
                message = "worker %d has not started within %g s, and is killed"
                log.critical(message, worker.pid, START_SECONDS, extra=fields)

    def _replace(self) -> None:
        """Continue to replace all workers: each leaves when a new worker serves in its slot."""
        if self._replacement is not None:
            self._continue_replacement(self._replacement)
        elif self._to_replace and not self._leaving:
            slot = self._to_replace.pop(0)
            if slot.worker is not None:  # an empty slot is filled anyway
                new = slot.start()
                if new is None:
                    self._to_replace.clear()
                else:
                    self._replacement = _Replacement(slot, new)

    def _continue_replacement(self, replacement: _Replacement) -> None:
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

    def _begin_shutdown(self) -> None:
        """Tell all workers to end. The supervisor refuses new connections on their socket shortly before."""
        now, seconds = time.monotonic(), max(self._settings.shutdown_seconds, signals.LEAST_SECONDS)
        self._refuses_at = now + self._settings.drain_seconds
        self._ends_at = now + seconds - signals.LAST_SECONDS
        signals.kill_within(seconds + signals.LATE_SECONDS)
        for worker in self._all():
            worker.terminate()

    def _continue_shutdown(self) -> bool:
        now = time.monotonic()
        if now >= self._refuses_at:
            self._refuses_at = math.inf
            refuse_connections(self._listeners[0])
        living = [worker for worker in self._all() if not worker.has_ended()]
        if now >= self._ends_at:
            for worker in living:
                if not worker.killed:
                    log.warning("worker %d did not end in time, and is killed", worker.pid)
                    worker.kill()
        return not living or now >= self._ends_at + signals.LATE_SECONDS
