"""The slot of one worker: when its worker dies, another one is started.

In: workers that end, or cannot be started. Out: another worker, after pauses that grow while workers keep dying; and a
log line for each end, with its reason. It knows no other slot.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .worker_process import WorkerProcess

if TYPE_CHECKING:
    from .heartbeat import Clock
    from .worker import Work

STEADY_SECONDS = 10.0  # a worker that lives this long ends the succession of deaths
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds, after the second death in succession, and after many
LONGEST_PAUSE_SERVING = 1.0  # seconds, where the worker had served

log = logging.getLogger("service")


class WorkerSlot:
    """A slot with one worker, or none for a while."""

    def __init__(self, work: Work, clock: Clock) -> None:
        self.worker: WorkerProcess | None = None
        self._work = work
        self._clock = clock
        self._due = 0.0  # when the next worker may start, on the clock
        self._ends = 0  # in succession

    def fill(self) -> bool:
        """Start a worker if the slot is empty and its pause is over; return whether one was started."""
        if self.worker is not None or self._clock.now < self._due:
            return False
        self.worker = self.start()
        if self.worker is None:
            self._pause(LONGEST_PAUSE)
        return self.worker is not None

    def start(self) -> WorkerProcess | None:
        """Return a new worker for this slot; None where the system cannot start one."""
        try:
            return WorkerProcess(self._work, self._clock)
        except (OSError, MemoryError) as error:
            log.error("a worker cannot be started: %s", error)
            return None

    def replace_worker(self, new: WorkerProcess) -> WorkerProcess | None:
        """Put a new worker in the slot; return the old one."""
        old, self.worker, self._ends = self.worker, new, 0
        return old

    def on_ended(self) -> None:
        """Empty the slot: its worker has ended."""
        worker, self.worker = self.worker, None
        assert worker is not None
        if worker.seconds >= STEADY_SECONDS:
            self._ends = 0
        pause = self._pause(LONGEST_PAUSE_SERVING if worker.ready else LONGEST_PAUSE)
        log.error(
            "worker %d has ended after %.1f s: %s; in succession: %d; another one starts in %g s",
            worker.pid,
            worker.seconds,
            worker.reason,
            self._ends,
            pause,
        )

    def _pause(self, longest: float) -> float:
        """Begin a pause, and return its seconds."""
        self._ends += 1
        pause = 0.0 if self._ends == 1 else min(FIRST_PAUSE * 2.0 ** min(self._ends - 2, 10), longest)
        self._due = self._clock.now + pause
        return pause
