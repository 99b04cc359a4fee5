"""Watch the file of API keys while the service runs, and read it again when it changes.

In: the file's path. Out: its entries, whenever they change; and the reason why no key is accepted, if so. A file that
cannot be read or parsed changes only a metric and the log: the keys from before stay. A file that is missing for longer
than a rename or a swap of a Secret takes revokes all keys. It knows no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..system import files
from . import keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import date
    from pathlib import Path

    from ..observability.metrics import Metrics
    from .keys import Entry

POLL_SECONDS = 1.0
MAX_MISSING_SECONDS = 10.0  # after which all keys are revoked
LOG_SECONDS = 60.0  # between two log lines about a file that cannot be read
WARN_DAYS = 14  # before a key expires

log = logging.getLogger("service")


class KeysFile:
    """One watched file; `changed` is called with its entries."""

    def __init__(self, path: Path, metrics: Metrics, changed: Callable[[list[Entry]], None]) -> None:
        self._path = path
        self._metrics = metrics
        self._changed = changed
        self._state: tuple[int, int, int] | None = None  # of the file that was last read successfully
        self._missing_since = math.inf
        self._logged = -math.inf
        self._entries: list[Entry] = []
        self._warned: date | None = None  # the day on which keys that expire soon were last logged
        self.failure: str | None = "the file of API keys cannot be read"  # why no key is accepted, if so
        self.poll()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Poll the file once a second while the context is open."""
        task = asyncio.create_task(self._follow())
        yield
        task.cancel()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                self.poll()
            except Exception:  # the next poll may succeed
                log.exception("polling the file of API keys failed")

    def poll(self) -> None:
        """Read the file if it has changed; once a day, log which keys expire soon."""
        self._read()
        self._warn()

    def _read(self) -> None:
        state = files.state(self._path)
        if state is not None and state == self._state:
            return
        try:
            entries = keys.read(self._path)
        except SettingsError as error:
            self._keep(error, missing=isinstance(error, keys.MissingFile))
        else:
            self._state, self._missing_since, self._logged, self.failure = state, math.inf, -math.inf, None
            self._metrics.keys.file_unreadable.set(0)
            self._use(entries)
            self._entries, self._warned = entries, None
            log.info("known API keys: %d", len(entries))

    def _use(self, entries: list[Entry]) -> None:
        self._changed(entries)
        ends: dict[str, float] = {}
        for entry in entries:  # with two lines of one name, a client has until the later one
            ends[entry.name] = max(entry.ends(), ends.get(entry.name, 0.0))
        self._metrics.keys.set_expiries({name: seconds for name, seconds in ends.items() if seconds < math.inf})

    def _warn(self) -> None:
        today = datetime.now(UTC).date()
        if today == self._warned:
            return
        self._warned = today
        for entry in self._entries:
            if entry.expires is not None and 0 <= (entry.expires - today).days < WARN_DAYS:
                log.warning("the key of %s expires: its last day is %s", entry.name, entry.expires)

    def _keep(self, error: SettingsError, *, missing: bool) -> None:
        """Keep the keys from before, unless the file has been missing for too long."""
        now = time.monotonic()
        self._state = None
        self._metrics.keys.file_unreadable.set(1)
        self._missing_since = min(self._missing_since, now) if missing else math.inf
        if now - self._missing_since >= MAX_MISSING_SECONDS and self.failure is None:
            self.failure = "the file of API keys is missing"
            self._logged = -math.inf
            self._use([])
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.error("%s; %s", error, "the keys from before stay" if self.failure is None else "no key is accepted")
