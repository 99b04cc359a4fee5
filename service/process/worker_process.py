"""A worker as its supervisor sees it: a process, its heartbeats, and how it ended.

In: the work. Out: whether the worker serves, hangs or has ended, and how. It knows no other worker.

The process is a fork of the supervisor, which has imported the app: it serves sooner than a new program, and shares the
memory of all modules. The supervisor has threads, for its log and for a source of versions. The thread that forks holds
the interpreter's lock, so the others wait for that lock or in a system call, and hold no lock of the C library. What
else they may hold, such as the queue of the log, a worker makes anew.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING

from ..system import confinement, processes, signals
from . import heartbeat

if TYPE_CHECKING:
    from typing import NoReturn

    from .heartbeat import Clock
    from .worker import Work

NAME = "mnist-worker"  # as `ps` and `top` show it
STARTUP_FAILURE = 3  # the exit code where the app cannot start, as uvicorn has it
PORT_REFUSED = 5  # the exit code where the system does not let the worker listen


class WorkerProcess:
    """One worker, of which this process is the parent."""

    def __init__(self, work: Work, clock: Clock) -> None:
        """Start the worker; raises `OSError`."""
        self.ready = False  # whether it serves, or has served
        self.connected = True  # whether its end of the pipe is open
        self.killed = False
        self.exit_code: int | None = None  # when it has ended; negative for a signal
        self.terminated_at: float | None = None  # on the supervisor's clock
        self._clock = clock
        self._started = self._beat = clock.now
        self.heart, theirs = os.pipe()
        supervisor = os.getpid()
        try:
            os.set_blocking(self.heart, False)
            with signals.blocking(), warnings.catch_warnings():
                # Python 3.12 warns of the threads: see above. The worker keeps this filter.
                warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
                self.pid = os.fork()
                if self.pid == 0:
                    _become_worker(work, theirs, supervisor)
        except BaseException:
            os.close(self.heart)
            raise
        finally:
            os.close(theirs)

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
        self._send(signal.SIGTERM)

    def interrupt(self) -> None:
        """Ask it to end sooner, with SIGINT."""
        self._send(signal.SIGINT)

    def kill(self) -> None:
        """Kill it."""
        self.killed = True
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if not self.has_ended():  # until it is reaped, the process id is its own
            os.kill(self.pid, number)

    def kill_with_stacks(self) -> list[str]:
        """Have it write the stacks of its threads, then kill it; return the lines."""
        stacks = heartbeat.stacks_of(self.pid)
        self.kill()
        return stacks

    def has_ended(self) -> bool:
        """Return whether it has ended, and clean up then."""
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0:
                return False
            self.exit_code = os.waitstatus_to_exitcode(status)
            os.close(self.heart)
            self.connected = False
        return True

    @property
    def restart_reason(self) -> str:
        """How it has ended, for the metrics."""
        assert self.exit_code is not None
        if self.killed:
            return "hang"
        return "exit" if self.exit_code >= 0 else "signal"

    @property
    def reason(self) -> str:
        """How it has ended, for the log."""
        code = self.exit_code
        assert code is not None
        with contextlib.suppress(ValueError):  # a signal without a name
            return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"signal {-code}"


def _become_worker(work: Work, heart: int, supervisor: int) -> NoReturn:
    """Do the work in this process, a new one whose signals are blocked, and end it."""
    try:
        signals.forget()
        signals.install()
        processes.set_name(NAME)
        processes.close_others({heart, *work.descriptors()})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.BLOCKED)
        # Without this, workers of a killed supervisor would hold the port, and no new service could start.
        confinement.end_with(supervisor, signal.SIGTERM)
        signals.end(work.run(heart))
    except BaseException:  # noqa: BLE001 - the log may have no thread yet that writes it
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)  # whatever fails: the code of the supervisor is not for this process
