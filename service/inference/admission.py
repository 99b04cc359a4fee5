"""Admission control: a request that cannot meet its deadline is refused before it costs anything.

In: the client's deadline, and the waits that batcher and readers predict. Out: the seconds that a request has; or an
error: 503 with `Retry-After` if it would be late, 504 if it is late already.
"""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING

from ..errors import DeadlineExceeded, Malformed, Overloaded
from ..headers import TIMEOUT
from ..quoting import quoted

if TYPE_CHECKING:
    from ..reader.readers import Readers
    from ..settings import Settings
    from ..versions.manager import VersionManager
    from .batcher import Batcher

_MILLISECONDS = re.compile(r"[1-9][0-9]{0,8}")


class Admission:
    """Admits requests that can meet their deadlines."""

    def __init__(self, settings: Settings, models: VersionManager, batcher: Batcher, readers: Readers) -> None:
        self._models = models
        self._batcher = batcher
        self._readers = readers
        self._timeout = settings.timeout_seconds
        self._max_wait = settings.max_wait_seconds

    def wait(self, *, large: bool) -> float:
        """Return the predicted seconds until a request that comes now would run."""
        return self._batcher.wait() + (self._readers.wait() if large else 0.0)

    def admit(self, timeout: str | None, began: float, *, large: bool) -> float:
        """Return the seconds that are left for a request that began at `began` (perf_counter).

        `timeout` is the header's value, which counts from `began`; without it, the service's own timeout starts now.
        A `large` body waits for a reader, too. Raises `Overloaded`, `DeadlineExceeded` or `Malformed` (a bad header).
        """
        seconds = self._timeout
        if timeout is not None:
            limit = _seconds(timeout)
            seconds = min(seconds, began + limit - time.perf_counter())
            if seconds <= 0:
                raise DeadlineExceeded(f"The deadline of {limit:g} s in {TIMEOUT} had passed already.", limit=limit)
        wait = self.wait(large=large)
        current = self._models.current
        run = current.costs.seconds(1) if current else 0.0
        limit = min(self._max_wait, seconds - run)
        if wait > limit:
            raise _overloaded(wait, max(0.0, limit))
        return seconds


def _overloaded(wait: float, limit: float) -> Overloaded:
    retry_after = max(1, math.ceil(wait))
    detail = f"A picture would wait for about {wait:.2g} s; the limit is {limit:.2g} s. Retry in {retry_after} s."
    return Overloaded(detail, limit=limit, retry_after_s=retry_after)


def _seconds(timeout: str) -> float:
    if not _MILLISECONDS.fullmatch(timeout):
        raise Malformed(
            f"{TIMEOUT} is a whole number of milliseconds from 1 to 999999999; found {quoted(timeout[:40])!r}."
        )
    return int(timeout) / 1000
