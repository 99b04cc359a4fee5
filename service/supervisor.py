"""The parent of several workers: uvicorn's supervisor, which ends and replaces them without losing a request.

In: what each worker runs, and the socket that all accept from. Out: as many workers as there should be.
uvicorn's own would let go of a socket on which connections still wait, stand still while it replaces workers, and kill
those that are slow to start; the rest is its. It knows processes, and nothing of requests.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from service.accept import Server
from service.drain import refuse_connections
from service.shares import Shares

if TYPE_CHECKING:
    import socket

    import uvicorn

START_SECONDS = 60  # that a new worker gets to be ready before the old one is kept

log = logging.getLogger("service")


class Worker(Process):
    """A process with a server, which shares connections with the others."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], shares: Shares) -> None:
        super().__init__(config, sockets)
        self._shares = shares

    @property
    def server(self) -> uvicorn.Server:
        """Its server, made in the process itself."""
        if self._server is None:
            self._server = Server(self.config, self._shares)
        return self._server


class _Replacement(NamedTuple):
    old: Process
    new: Process
    until: float  # seconds, monotonic


class Supervisor(Multiprocess):
    """Workers that share a socket: SIGHUP replaces them one at a time, SIGTERM and SIGINT end them."""

    def __init__(self, config: uvicorn.Config, listeners: list[socket.socket], drain_seconds: float) -> None:
        super().__init__(config, listeners)
        self._shares = Shares(config.workers)
        self.failed = False  # because a worker could not start
        self._drain_seconds = drain_seconds
        self._ending = False
        self._to_replace: list[Process] = []
        self._replacement: _Replacement | None = None
        self._leaving: list[Process] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGALRM, lambda *_: refuse_connections(listeners[0]))

    def init_processes(self) -> None:
        """Start the workers."""
        self.processes = [self._started() for _ in range(self.processes_num)]
        self._seat()

    def _seat(self) -> None:
        self._shares.seat([process.pid for process in self.processes if process.pid is not None])

    def _end(self, number: int, _: object) -> None:
        """Tell the workers at once, where uvicorn would look at its signals twice a second.

        The socket is shared: only who ends all workers may close it to new connections, shortly before they let go.
        """
        self._ending = True
        for process in self._all():
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, max(self._drain_seconds, 1e-6))
        self.signal_queue.append(number)

    def _all(self) -> list[Process]:
        return [*self.processes, *self._leaving, *([self._replacement.new] if self._replacement else [])]

    def handle_hup(self) -> None:
        """Begin to replace all workers."""
        self._to_replace = list(self.processes)

    def keep_subprocess_alive(self) -> None:
        """Called twice a second: fill the places of dead workers, and replace the next that is to be replaced.

        uvicorn would also ask each worker for a sign of life, and kill one that takes 5 s to start; here a worker that
        is blocked ends itself (`service.watchdog`).
        """
        if self._ending:
            return
        for index, process in enumerate(self.processes):
            if not process.process.is_alive():
                log.error("worker %s has ended with exit code %s", process.pid, process.exitcode)
                if process.exitcode == STARTUP_FAILURE:  # and so would every other
                    self.failed = True
                    self.should_exit.set()
                    return
                self.processes[index] = self._started()
                self._seat()
        self._leaving = [process for process in self._leaving if process.process.is_alive()]
        if self._replacement is not None:
            self._go_on(self._replacement)
        elif self._to_replace and not self._leaving:
            old = self._to_replace.pop(0)
            if old in self.processes:  # it has not died and been replaced meanwhile
                self._replacement = _Replacement(old, self._started(), time.monotonic() + START_SECONDS)

    def _started(self) -> Process:
        process = Worker(self.config, self.sockets, self._shares)
        process.start()
        return process

    def _go_on(self, replacement: _Replacement) -> None:
        old, new, until = replacement
        if new.process.is_alive() and _is_ready(new):
            self._replacement = None
            if old in self.processes:
                self.processes[self.processes.index(old)] = new
            else:  # it has died, and its place is filled
                old = new
            self._leaving.append(old)
            self._seat()
            old.terminate()
        elif not new.process.is_alive() or time.monotonic() > until:
            log.error("a new worker did not start: the others are kept as they are")
            self._replacement = None
            self._to_replace.clear()
            self._leaving.append(new)
            new.kill()

    def terminate_all(self) -> None:
        """Tell all workers to end."""
        for process in self._all():
            process.terminate()

    def join_all(self) -> None:
        """Wait for all of them."""
        for process in self._all():
            process.join()


def _is_ready(process: Process) -> bool:
    """Whether a worker serves; it may still have to answer when it was asked before it could."""
    process.parent_conn.send(b"ping")
    ready = False
    while not ready and process.parent_conn.poll(0.1):
        ready = process.parent_conn.recv()
    return ready
