"""A worker as its supervisor sees it: a process, its heartbeats, and how it ended.

In: the worker's job. Out: whether the worker serves, hangs or has ended, and how. It knows no other worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from ..system import modules, signals
from . import heartbeat

if TYPE_CHECKING:
    from ..settings import Settings
    from .heartbeat import Clock

STARTUP_FAILURE = 3  # the exit code where the app cannot start, as uvicorn has it
PORT_REFUSED = 5  # the exit code where the system does not let the worker listen
COMMAND = [sys.executable, "-c", f"from {modules.PACKAGE}.process.worker import spawn_main; spawn_main()"]


class Job(NamedTuple):
    """The job of all workers: settings, and descriptors that they inherit."""

    settings: Settings
    listeners: list[int]
    shared_state: int
    checked_files: int
    connection_counts: int
    restarts: int


class WorkerProcess:
    """One worker, of which this process is the parent."""

    def __init__(self, job: Job, clock: Clock) -> None:
        """Start the worker; raises `OSError`."""
        self.ready = False  # whether it serves, or has served
        self.connected = True  # whether its end of the pipe is open
        self.killed = self._closed = False
        self.terminated_at: float | None = None  # on the supervisor's clock
        self._clock = clock
        self._started = self._beat = clock.now
        self.heart, theirs = os.pipe()
        try:
            os.set_blocking(self.heart, False)
            with signals.blocking():
                self._process = subprocess.Popen(  # noqa: S603 - our own words
                    COMMAND,
                    stdin=subprocess.PIPE,
                    pass_fds=[
                        *job.listeners,
                        job.shared_state,
                        job.checked_files,
                        job.connection_counts,
                        job.restarts,
                        theirs,
                    ],
                )
        except BaseException:
            os.close(self.heart)
            raise
        finally:
            os.close(theirs)
        self.pid = self._process.pid
        self._hand_over(job, theirs)

    def _hand_over(self, job: Job, heart: int) -> None:
        message = job._asdict() | {
            "settings": job.settings.model_dump(mode="json"),
            "parent": os.getpid(),
            "heart": heart,
        }
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:  # it has died before
            stdin.write(json.dumps(message).encode())  # a path may have bytes that are no UTF-8

    def read_heartbeats(self) -> None:
        """Read its heartbeats."""
        with contextlib.suppress(BlockingIOError):
            signs = os.read(self.heart, 65_536)
            self.connected = bool(signs)
            if signs:
                self._beat = self._clock.now
            self.ready = self.ready or heartbeat.READY in signs

    @property
    def silent_seconds(self) -> float:
        """The time since its last heartbeat."""
        return self._clock.now - self._beat

    @property
    def seconds(self) -> float:
        """The time since its start."""
        return self._clock.now - self._started

    def terminate(self) -> None:
        """Ask it to end, with SIGTERM."""
        self.terminated_at = self._clock.now
        self._process.terminate()

    def interrupt(self) -> None:
        """Ask it to end sooner, with SIGINT."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill it."""
        self.killed = True
        self._process.kill()

    def kill_with_stacks(self) -> list[str]:
        """Have it write the stacks of its threads, then kill it; return the lines."""
        stacks = heartbeat.stacks_of(self.pid)
        self.kill()
        return stacks

    def has_ended(self) -> bool:
        """Return whether it has ended, and clean up then."""
        if self._process.poll() is None:
            return False
        if not self._closed:
            os.close(self.heart)
        self._closed = True
        self.connected = False
        return True

    @property
    def exit_code(self) -> int | None:
        """The exit code; negative for a signal."""
        return self._process.returncode

    @property
    def restart_reason(self) -> str:
        """How it has ended, for the metrics."""
        if self.killed:
            return "hang"
        return "exit" if self._process.returncode >= 0 else "signal"

    @property
    def reason(self) -> str:
        """How it has ended, for the log."""
        code = self._process.returncode
        with contextlib.suppress(ValueError):  # a signal without a name
            return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"signal {-code}"
