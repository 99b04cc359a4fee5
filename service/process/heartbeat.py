"""Signs of life over a pipe, and the process that watches a service of one process by them.

    python heartbeat.py PID SECONDS

In: a byte from time to time, while an event loop turns. Out: a process whose signs have been missing for too long is
killed, after it was asked for the stacks of its threads: also one whose code never lets go of the interpreter, so that
none of its own threads can end it. The parent of several workers watches them in the same way; a process alone is
watched by this file, which imports nothing of the service so that it is small. It ends with the process it watches.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

BEAT, READY = b"\0", b"\1"
TICK_SECONDS = 0.25  # between two looks of whoever watches
MARGIN_SECONDS = 2.0  # that a process has to end itself, which it does with better words
DUMP_SECONDS = 0.5
KILLED = b"""{"level":"critical","logger":"service","message":"process %d hangs for %g s, and is killed"}\n"""
DUMP_SIGNAL = signal.SIGVTALRM  # on which a process writes the stacks of its threads; nobody else uses it


class Clock:
    """Seconds for which whoever watches has run itself.

    Where all stood still (a paused container, a sleeping laptop, a machine that moved), a tick has passed, and not an
    hour: so a pause is not taken for a stall.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._last = time.monotonic()

    def tick(self) -> float:
        """The time now; to be called every TICK_SECONDS."""
        last, self._last = self._last, time.monotonic()
        self.now += min(self._last - last, 2 * TICK_SECONDS)
        return self.now


class Heart:
    """The end of a pipe at which a process shows that it lives."""

    def __init__(self, descriptor: int | None) -> None:
        """None where nobody watches."""
        if descriptor is not None:
            os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def beat(self) -> None:
        """The event loop turns."""
        self._show(BEAT)

    def ready(self) -> None:
        """It serves."""
        self._show(READY)

    def _show(self, sign: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, sign)
        except BrokenPipeError:
            self.lost()
        except OSError:  # it is full: whoever watches stands still
            return

    def lost(self) -> None:
        """Nobody is there to see it. The parent of workers ends them when it ends."""


def dump_stacks(pid: int) -> None:
    """Let a process that hangs write the stacks of its threads to stderr, if it can."""
    os.kill(pid, DUMP_SIGNAL)
    time.sleep(DUMP_SECONDS)


def _is_stopped(pid: int) -> bool:
    """Whether somebody has stopped it, as SIGSTOP and debuggers do; False where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes longer to import than all of this
            return file.read().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    except OSError:
        return False


def _watch(pid: int, seconds: float) -> None:
    """Watch the process that started this one; stdin is the pipe."""
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
    # A whole group of processes may get them, and this one is to end last.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # it has ended
        _watch(int(sys.argv[1]), float(sys.argv[2]))
