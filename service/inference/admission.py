"""Who is let in: what could not be answered in time is refused at once, before anything is paid for it.

In: the time that a client gives, and the waits that batcher and readers predict. Out: the seconds that a request has,
or why it is refused: 503 when it would be late, with the time after which to come back; 504 when it is late already.
It knows neither bodies nor routes.
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
    """Lets requests in while they can be answered in time."""

    def __init__(self, settings: Settings, models: VersionManager, batcher: Batcher, readers: Readers) -> None:
        self._models = models
        self._batcher = batcher
        self._readers = readers
        self._timeout = settings.timeout_seconds
        self._max_wait = settings.max_wait_seconds

    def admit(self, timeout: str | None, began: float, *, large: bool) -> float:
        """Seconds that are left to answer a request that `began` at this time (perf_counter).

        `timeout` is the header's value; without one, the time to answer begins now. `large` are bodies for readers.
        Raises `Overloaded`, `DeadlineExceeded`, or `Malformed` where the header is no number.
        """
        seconds = self._timeout
        if timeout is not None:
            given = _seconds(timeout)
            seconds = min(seconds, began + given - time.perf_counter())
            if seconds <= 0:
                raise DeadlineExceeded(f"The {given:g} s that {TIMEOUT} gives had passed already.", limit=given)
        wait = self._batcher.wait()
        if large:
            wait += self._readers.wait()
        current = self._models.current
        run = current.costs.seconds(1) if current else 0.0
        limit = min(self._max_wait, seconds - run)
        if wait > limit:
            raise _overloaded(wait, max(0.0, limit))
        return seconds


def _overloaded(wait: float, limit: float) -> Overloaded:
    later = max(1, math.ceil(wait))
    sentence = f"A picture would wait for about {wait:.2g} s; the limit is {limit:.2g} s. Come back in {later} s."
    return Overloaded(sentence, limit=limit, retry_after_s=later)


def _seconds(timeout: str) -> float:
    if not _MILLISECONDS.fullmatch(timeout):
        raise Malformed(
            f"{TIMEOUT} is a whole number of milliseconds from 1 to 999999999; found {quoted(timeout[:40])!r}."
        )
    return int(timeout) / 1000
