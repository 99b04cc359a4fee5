"""End the process when its event loop is blocked, or when it does not shut down in time, so that another replaces it.

In: an event loop, seconds, and the time when the process must have ended. Out: every thread's stack in the log, and
exit code 1; or exit code 0 at the end of the time to shut down. A thread polls the loop. Code that never releases the
interpreter's lock blocks this thread too; another process handles that case (`service.process.heartbeat`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from ..system import signals
from . import heartbeat
from .heartbeat import MARGIN_SECONDS, TICK_SECONDS, Clock, Heart

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import FrameType

BEAT_SECONDS = 0.5

log = logging.getLogger("service")


class Watchdog:
    """Watches this process from inside, and sends heartbeats to the process that watches from outside."""

    def __init__(self, stall_seconds: float, shutdown_seconds: float, start_heart: Callable[[], Heart]) -> None:
        """`start_heart` is called once the event loop runs; it raises `OSError`."""
        self._start_heart = start_heart
        self._stall_seconds = stall_seconds or math.inf  # 0: never
        self._shutdown_seconds = max(shutdown_seconds, signals.LEAST_SECONDS)
        self._beats = 0
        self._ends_at = math.inf  # seconds, monotonic

    def end_in_time(self) -> None:
        """Have this process end in its time to shut down, whatever hangs; may be called again."""
        if self._ends_at == math.inf:
            self._ends_at = time.monotonic() + self._shutdown_seconds - signals.LAST_SECONDS
            signals.kill_within(self._shutdown_seconds + signals.LATE_SECONDS)

    def ready(self) -> None:
        """Show that the process serves."""
        self._heart.ready()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Watch this event loop while the context is open; the time to shut down is watched afterwards too."""
        self._heart = self._start_heart()
        with contextlib.suppress(AttributeError, OSError):  # outside of Linux; or no descriptor is left
            heartbeat.write_stacks_on_signal()
        task = asyncio.create_task(self._beat())
        try:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        except RuntimeError as error:  # raised by Python where the system has no more threads
            raise OSError(f"{error}") from None
        try:
            yield
        finally:
            self._stall_seconds = math.inf
            task.cancel()

    async def _beat(self) -> None:
        while True:
            self._beats += 1
            self._heart.beat()
            await asyncio.sleep(min(BEAT_SECONDS, self._stall_seconds / 4))

    def _watch(self) -> None:
        clock, beats, last = Clock(), self._beats, 0.0
        while True:
            time.sleep(max(0.0, min(TICK_SECONDS, self._ends_at - time.monotonic())))
            now = clock.tick()
            if beats != self._beats:
                beats, last = self._beats, now
            if now - last > self._stall_seconds:
                stacks = [_stack(frame) for frame in sys._current_frames().values()]
                log.critical(
                    "the event loop has been blocked for %g s",
                    self._stall_seconds,
                    extra={"fields": {"stacks": stacks}},
                )
                signals.end(1)
            if time.monotonic() >= self._ends_at:
                log.warning("requests that have not finished after %g s are cut off", self._shutdown_seconds)
                signals.end(0)


class OuterWatchdog(Heart):
    """A process that watches this one, for a service of one process: its parent is not ours."""

    def __init__(self, seconds: float, log_format: str) -> None:
        """Start the process, unless `seconds` is 0; raises `OSError`."""
        arguments = [str(os.getpid()), str(seconds + MARGIN_SECONDS), log_format]
        self._command = [sys.executable, "-IS", heartbeat.__file__, *arguments]
        self._failed = False
        if seconds:
            self._start()
        else:
            super().__init__(None)

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        super().__init__(self._process.stdin.fileno())

    def lost(self) -> None:
        """Start another process: this one was killed."""
        self._process.wait()
        try:
            self._start()
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.error("the process that watches this one cannot be started again: %s", error)
            self._failed = True


def _stack(frame: FrameType | None) -> list[str]:
    """Return the stack of a thread, the innermost frame last, without source lines: the disk may be what hangs."""
    lines: list[str] = []
    while frame is not None:
        code = frame.f_code
        lines.append(f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}")
        frame = frame.f_back
    return lines[::-1]
