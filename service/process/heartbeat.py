"""Heartbeats over a pipe, and the process that watches a service of one process by them.

    python heartbeat.py PID SECONDS FORMAT

In: a byte from time to time, while an event loop runs. Out: a process without heartbeats for too long is killed, after
a line in the log's format with the stacks of its threads, if it can write them. This works also where code never
releases the interpreter's lock, so that no thread of the process could end it. The supervisor watches its workers in
the same way. A service of one process is watched by this file, which is run as a program, ends with that process, and
imports nothing of the service to stay small.
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
DUMP_SIGNAL = signal.SIGVTALRM  # a process writes the stacks of its threads on it; nothing else uses it
STACKS = "mnist-stacks"  # the file in memory into which it writes them
MAX_STACKS = 65_536  # characters
TEXT = "text"  # the format of a log for people; other logs are JSON


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


def write_stacks_on_signal() -> None:
    """Have this process write the stacks of its threads on `DUMP_SIGNAL`, also where no Python code can run."""
    import faulthandler  # noqa: PLC0415 - not needed where this file runs alone

    faulthandler.register(DUMP_SIGNAL, os.memfd_create(STACKS))


def stacks_of(pid: int) -> list[str]:
    """Have a process that hangs write the stacks of its threads; return the lines, none if it cannot."""
    os.kill(pid, DUMP_SIGNAL)
    time.sleep(DUMP_SECONDS)
    folder = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):  # there is no such folder
        for name in os.listdir(folder):  # noqa: PTH208 - pathlib takes longer to import than all of this
            with contextlib.suppress(OSError):  # it is closed meanwhile
                if STACKS in os.readlink(f"{folder}/{name}"):  # noqa: PTH115
                    with open(f"{folder}/{name}") as file:  # noqa: PTH123
                        return file.read(MAX_STACKS).splitlines()
    return []


def _is_stopped(pid: int) -> bool:
    """Return whether SIGSTOP or a debugger has stopped a process; False where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes longer to import than all of this
            return file.read().rpartition(b")")[2].split()[0] in {b"T", b"t"}
    except OSError:
        return False


def _report(message: str, stacks: list[str], log_format: str) -> None:
    """Write a line to the log, unless nobody reads it."""
    now = time.time()
    moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e3):03}+00:00"
    if log_format == TEXT:
        line = "\n".join([f"{moment} critical {message}", *stacks])
    else:
        import json  # noqa: PLC0415 - a megabyte, which almost no process needs

        line = json.dumps(
            {"time": moment, "level": "critical", "logger": "service", "message": message, "stacks": stacks},
            separators=(",", ":"),
        )
    data = f"{line}\n".encode()
    while data and select.select([], [2], [], 1)[1]:
        data = data[os.write(2, data[: select.PIPE_BUF]) :]  # a pipe with room has room for so many


def _watch(pid: int, seconds: float, log_format: str) -> None:
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
        with contextlib.suppress(OSError):  # nobody can read it any more
            _report(f"process {pid} hangs for {seconds:g} s, and is killed", stacks_of(pid), log_format)
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    # The whole process group may get these signals, and this process must end last.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the watched process has ended
        _watch(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
