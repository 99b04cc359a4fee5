"""A worker, as its parent sees it: a process, how long it has shown no sign of life, and how it ended.

In: what it takes to start one. Out: whether it serves, hangs, or has ended, and how. It knows no other worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import orjson

from ..system import modules, signals
from . import heartbeat

if TYPE_CHECKING:
    from ..settings import Settings
    from .heartbeat import Clock

STARTUP_FAILURE = 3  # the exit code of one whose app cannot start, as uvicorn has it
COMMAND = [sys.executable, "-c", f"from {modules.PACKAGE}.process.worker import spawn_main; spawn_main()"]


class Job(NamedTuple):
    """What all workers have in common: settings, and descriptors that they inherit."""

    settings: Settings
    listeners: list[int]
    shared_state: int
    checked_files: int
    connection_counts: int


class WorkerProcess:
    """One worker."""

    def __init__(self, job: Job, clock: Clock) -> None:
        """Start it; raises `OSError`."""
        self.ready = False  # it has served
        self.speaks = True  # its end of the pipe is open
        self.killed = self._closed = False
        self.terminated_at: float | None = None  # by the clock
        self._clock = clock
        self._started = self._beat = clock.now
        self.heart, theirs = os.pipe()
        try:
            os.set_blocking(self.heart, False)
            with signals.held():
                self._process = subprocess.Popen(  # noqa: S603 - our own words
                    COMMAND,
                    stdin=subprocess.PIPE,
                    pass_fds=[*job.listeners, job.shared_state, job.checked_files, job.connection_counts, theirs],
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
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:  # it has died already
            stdin.write(orjson.dumps(message))

    def listen(self) -> None:
        """Take its signs of life."""
        with contextlib.suppress(BlockingIOError):
            signs = os.read(self.heart, 65_536)
            self.speaks = bool(signs)
            if signs:
                self._beat = self._clock.now
            self.ready = self.ready or heartbeat.READY in signs

    @property
    def silent_seconds(self) -> float:
        """For how long it has shown no sign of life."""
        return self._clock.now - self._beat

    @property
    def seconds(self) -> float:
        """For how long it has lived."""
        return self._clock.now - self._started

    def terminate(self) -> None:
        """Tell it to end."""
        self.terminated_at = self._clock.now
        self._process.terminate()

    def interrupt(self) -> None:
        """Tell it to end sooner."""
        self._process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it, whatever it does."""
        self.killed = True
        self._process.kill()

    def kill_with_stacks(self) -> None:
        """End it, and let it say before where its threads are."""
        heartbeat.dump_stacks(self.pid)
        self.kill()

    def has_ended(self) -> bool:
        """Whether it has. It leaves nothing behind then."""
        if self._process.poll() is None:
            return False
        if not self._closed:
            os.close(self.heart)
        self._closed = True
        self.speaks = False
        return True

    @property
    def exit_code(self) -> int | None:
        """Its exit code; negative for a signal."""
        return self._process.returncode

    @property
    def reason(self) -> str:
        """How it has ended."""
        code = self._process.returncode
        with contextlib.suppress(ValueError):  # a signal without a name
            return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"signal {-code}"
