"""The readers of one worker: bodies in, prepared pictures out, even when a reader process dies.

In: a body and its kind. Out: its prepared pictures, or an error. Jobs take turns, so that one with many pictures does
not delay the others. A job that needs much memory or time goes to a large reader, which has more of both. All workers
of a service have one large reader at a time, so that other pictures get their share of the machine, and memory is
bounded. A job whose reader dies for an unknown reason runs again. It knows no route and no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import Overloaded
from ..settings import formats
from . import jobs, results
from .handle import Job
from .jobs import Limits
from .processes import KILLED, Callbacks, Processes
from .token import Token
from .wire import ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ..settings import Settings
    from ..system.spool import Spool
    from .handle import Reader
    from .results import Item
    from .wire import Message

MEBIBYTE = 2**20
MEMORY = 48 * MEBIBYTE  # of a job, beyond an idle process
PIXEL_BYTES = 4.5  # additional, for each pixel of the largest picture: four bands, and copies of their parts
SECONDS, LARGE_SECONDS = 0.3, 4.0  # of CPU time for each picture
LARGE_BODY = 8 * MEBIBYTE  # a larger body is read by the large reader
HANGS_SECONDS = 5.0  # beyond a reader's CPU time: a paused process takes none
AT_ONCE = 2  # ordinary readers at most
START_SECONDS = 0.5  # after the worker's start, to not delay it
TOKEN_SECONDS = 0.02  # between two attempts to get the token
LOSSES, KILLS = 3, 20  # readers that die, or are killed, during a job before it is refused
LEARNING_RATE = 0.1

log = logging.getLogger("service")


def large_memory(settings: Settings) -> int:
    """Return the bytes that the large reader may take for a job."""
    return MEMORY + int(PIXEL_BYTES * settings.max_pixels)


class Reading(NamedTuple):
    """The contents of a body."""

    items: list[Item]
    end: dict[str, Any]  # what its kind of body has in addition
    pixels: bytes  # n·784


class Counter(Protocol):
    """What counts."""

    def inc(self) -> None:
        """Count one."""


class Readers:
    """The processes, and the jobs that wait for them."""

    def __init__(self, settings: Settings, ends: Mapping[str, Counter]) -> None:
        """`ends` counts readers that end during a job, by why they did: `time` or `lost`."""
        common = (settings.max_body_bytes, settings.max_pixels, settings.max_images, formats(settings.formats))
        limits = Limits(*common, MEMORY, SECONDS, large=False)
        self._large_limits = Limits(*common, large_memory(settings), LARGE_SECONDS, large=True)
        self._count = min(AT_ONCE, max(1, len(os.sched_getaffinity(0)) // settings.workers))
        callbacks = Callbacks(self._on_message, self._on_ended, self._dispatch)
        self._processes = Processes(limits, self._large_limits, self._count, callbacks)
        self._ends = ends
        self._numbers = itertools.count()
        self._waiting: deque[Job] = deque()
        self._running = 0
        self._waiting_large: deque[Job] = deque()
        self._large: Reader | None = None
        self._token = Token()
        self._seconds = 0.0  # for which a job has a reader, as a moving average

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep readers while the context is open: from shortly after its start, or from the first job on."""
        self._processes.open()
        self._processes.start_later(START_SECONDS)
        try:
            yield
        finally:
            self._processes.close()
            self._token.release()

    def wait(self) -> float:
        """Return the predicted seconds until a new job would begin."""
        return (len(self._waiting) + self._running) * self._seconds / self._count

    async def read(self, body: Spool, kind: str, **about: Any) -> Reading:
        """Return the contents of a body; raises `ServiceError`."""
        header = {"job": next(self._numbers), "kind": kind, "size": body.size, **about}
        done: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        job = Job(header, body, done, large=body.size > LARGE_BODY)
        self._queue(job)
        end = await done
        if not job.large:
            self._seconds += LEARNING_RATE * (job.seconds - self._seconds) if self._seconds else job.seconds
        return Reading(job.items, end.header["end"], end.payload)

    def _queue(self, job: Job) -> None:
        (self._waiting_large if job.large else self._waiting).append(job)
        self._dispatch()

    def _dispatch(self) -> None:
        """Give waiting jobs to free readers."""
        for reader in self._processes.ordinary():
            if reader.job is None and (job := _next(self._waiting)) is not None:
                self._running += 1
                self._begin(reader, job, SECONDS)
        if self._large is None:
            self._dispatch_large()

    def _dispatch_large(self) -> None:
        job = _next(self._waiting_large)
        if job is None:
            self._token.release()
        elif self._token.acquire() and (reader := self._processes.large()) is not None:
            self._large = reader
            self._begin(reader, job, LARGE_SECONDS)
        else:
            self._waiting_large.appendleft(job)
            asyncio.get_running_loop().call_later(TOKEN_SECONDS, self._dispatch)

    def _begin(self, reader: Reader, job: Job, seconds: float) -> None:
        try:
            reader.begin(job, seconds + HANGS_SECONDS, self._on_hang)
        except Overloaded as error:
            self._finish(reader, job, error)
        except OSError:  # the reader has ended, and is not reaped yet
            self._release_job(reader)
            self._processes.kill(reader)
            (self._waiting_large if job.large else self._waiting).appendleft(job)

    def _on_hang(self, reader: Reader) -> None:
        """Kill a reader that hangs without CPU time: it, or the machine, is paused."""
        self._processes.kill(reader)
        reader.watch(HANGS_SECONDS, lambda _: self._processes.kill_all())

    def _on_message(self, reader: Reader, message: Message | None) -> None:
        job = reader.job
        if job is None or message is None:
            self._processes.kill(reader)
            return
        try:
            self._handle(reader, job, message)
        except (ProtocolError, KeyError, TypeError, ValueError) as error:
            log.error("a reader sent an invalid message: %r", error)
            self._processes.kill(reader)

    def _handle(self, reader: Reader, job: Job, message: Message) -> None:
        header = message.header
        if "parsed" in header:
            reader.parsed = True
        elif "picture" in header or "error" in header:
            job.items.append(results.read_item(message))
        elif "next" in header:
            job.large = bool(header.get("large")) or job.body.size > LARGE_BODY
            self._release_job(reader)
            self._queue(job)
        elif "end" in header:
            self._finish(reader, job, message)
        elif "refusal" in header:
            self._finish(reader, job, results.read_error(header["refusal"]))
        else:
            self._finish(reader, job, RuntimeError(f"a reader failed: {header['fault']}"))

    def _finish(self, reader: Reader, job: Job, found: Message | Exception) -> None:
        self._processes.worked()
        self._release_job(reader)
        _settle(job, found)
        self._dispatch()

    def _release_job(self, reader: Reader) -> Job | None:
        job = reader.release_job()
        if reader is self._large:
            reader.close()  # it ends: each large job begins in fresh memory
            self._large = None
        elif job is not None:
            self._running -= 1
        return job

    def _on_ended(self, reader: Reader, how: str) -> None:
        """Run the job of a reader that has ended again, perhaps in a large reader, or refuse it."""
        job = self._release_job(reader)
        if job is None:
            return
        timed_out, limit = how == "SIGPROF", KILLS if how == KILLED else LOSSES
        self._ends["time" if timed_out else "lost"].inc()
        job.losses += not timed_out
        if reader.large and (timed_out or job.losses >= limit):
            self._give_up(job, timed_out=timed_out, parsed=reader.parsed)
        job.large = job.large or timed_out or job.losses > 1  # a first death may be an operator's kill
        if not job.done.done():
            self._queue(job)

    def _give_up(self, job: Job, *, timed_out: bool, parsed: bool) -> None:
        """Refuse the picture that was being read, or the body."""
        what = "The picture" if parsed else "The body"
        error = jobs.too_much(what, self._large_limits) if timed_out else jobs.lost(what)
        job.losses = 0
        if parsed:
            job.items.append(error)
        else:
            _settle(job, error)


def _next(waiting: deque[Job]) -> Job | None:
    """Return the next job that a request still waits for."""
    while waiting:
        job = waiting.popleft()
        if not job.done.done():
            return job
    return None


def _settle(job: Job, found: Message | Exception) -> None:
    if job.done.done():  # abandoned meanwhile
        return
    if isinstance(found, Exception):
        job.done.set_exception(found)
    else:
        job.done.set_result(found)
