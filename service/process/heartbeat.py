"""Heartbeats over a pipe, and the process that watches a service of one process by them.

    python heartbeat.py PID SECONDS

In: a byte from time to time, while an event loop runs. Out: a process without heartbeats for too long writes the stacks
of its threads, if it can, and is killed. This works also where code never releases the interpreter's lock, so that no
thread of the process could end it. The supervisor watches its workers in the same way. A service of one process is
watched by this file, which is run as a program, ends with that process, and imports nothing of the service to stay
small.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

BEAT, READY = b"\0", b"\1"
TICK_SECONDS = 0.25  # between two polls of the watching process
MARGIN_SECONDS = 2.0  # for a process to end itself first, because its own log line says more
DUMP_SECONDS = 0.5
KILLED = b"""{"level":"critical","logger":"service","message":"process %d hangs for %g s, and is killed"}\n"""
DUMP_SIGNAL = signal.SIGVTALRM  # a process writes the stacks of its threads on it; nothing else uses it


class Clock:
    """Seconds for which the watching process itself has run.

    After a pause of the whole machine (a paused container, a sleeping laptop, a migrated machine) a tick has passed,
    and not an hour: so a pause is not taken for a stall.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._last = time.monotonic()

    def tick(self) -> float:
        """Return the time now; called every TICK_SECONDS."""
        last, self._last = self._last, time.monotonic()
        self.now += min(self._last - last, 2 * TICK_SECONDS)
        return self.now


class Heart:
    """The end of a pipe to which a process writes its heartbeats."""

    def __init__(self, descriptor: int | None) -> None:
        """The descriptor is None where no process watches."""
        if descriptor is not None:
            os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def beat(self) -> None:
        """Show that the event loop runs."""
        self._show(BEAT)

    def ready(self) -> None:
        """Show that the process serves."""
        self._show(READY)

    def _show(self, sign: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, sign)
        except BrokenPipeError:
            self.lost()
        except OSError:  # the pipe is full: the watching process is paused
            return

    def lost(self) -> None:
        """Do nothing: the watching process has ended, and workers end with their supervisor."""


def dump_stacks(pid: int) -> None:
    """Have a process that hangs write the stacks of its threads to stderr, if it can."""
    os.kill(pid, DUMP_SIGNAL)
    time.sleep(DUMP_SECONDS)


def _is_stopped(pid: int) -> bool:
    """Return whether SIGSTOP or a debugger has stopped a process; False where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes longer to import than all of this
            return file.read().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    except OSError:
        return False


def _watch(pid: int, seconds: float) -> None:
    """Watch the process that started this one, over stdin."""
    clock, last = Clock(), 0.0
    while clock.tick() - last <= seconds:
        if select.select([0], [], [], TICK_SECONDS)[0]:
            if not os.read(0, 65_536):
                return
            last = clock.now
            time.sleep(TICK_SECONDS)
        elif _is_stopped(pid):
            last = clock.now
    if os.getppid() == pid:
        if select.select([], [2], [], 0)[1]:
            os.write(2, KILLED % (pid, seconds))
        dump_stacks(pid)
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    # The whole process group may get these signals, and this process must end last.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the watched process has ended
        _watch(int(sys.argv[1]), float(sys.argv[2]))
