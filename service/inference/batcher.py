"""Dynamic batching: waiting requests → one run of the classifier.

In: n·784 pixels of one request, and the classifier that it began with. Out: its `Results`.

There is no timer. The requests that arrive in one turn of the event loop share a run at the end of the turn, so batches
grow under load. A turn's first request with one picture does not wait for that: it runs at once, unless the last batch
had several requests. A run with a long predicted duration gets a thread, and the loop goes on reading; what arrives
meanwhile is the next batch.

Requests are queued by size and served with equal shares of images (self-clocked fair queueing, Golestani 1994): large
and small requests cannot starve each other. A run uses one version of the model. Each version has its own queue; the
next run takes the queue whose first request is due first, so that versions cannot starve each other either.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from ..model.classifier import IMAGE_BYTES
from .results import Results, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..arrays import Pixels, Probabilities
    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..observability.record import Record

# A longer predicted run gets a thread; a shorter one costs less than the hand-over to a thread.
INLINE_SECONDS = 0.002
LEARNING_RATE = 0.1

# Called with a request's results or error; returns a function to call after all requests of the run, or None.
Done: TypeAlias = "Callable[[Results | Exception], Callable[[], None] | None]"


class _Request(NamedTuple):
    finish_tag: int  # images that its size's queue will have been served, in virtual time
    number: int  # requests with equal tags run in the order of arrival
    pixels: bytes  # n·784
    size: int  # n
    done: Done
    wanted: Callable[[], bool]
    since: float  # seconds, perf_counter
    record: Record | None  # of a request that is logged or traced


class Batcher:
    """Groups waiting requests into runs of about `max_batch` images."""

    def __init__(self, metrics: Metrics, *, max_batch: int) -> None:
        self._metrics = metrics
        self._max_batch = max_batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="run")  # starts with the first long run
        self._busy = False  # a run is under way or scheduled
        self._queues: dict[Classifier, list[_Request]] = {}  # a heap for each version with waiting requests
        self._numbers = itertools.count()
        self._finish_tags: dict[int, int] = {}  # the last tag of each request size
        self._virtual_time = 0  # the tag that is served now
        self._depths: Counter[Classifier] = Counter()  # images that wait for each version
        self._depth = 0  # images that wait for any version
        # Measured over predicted duration of runs: other processes and the loop's other work slow them down.
        self._slowness = 1.0
        self._started = 0.0  # the last run, perf_counter
        self._expected = 0.0  # predicted seconds of the last run, undisturbed
        self._ran_at_once = False  # in this turn of the loop
        self._crowded = False  # the last batch had several requests
        self._backlogged = False  # requests were left over when the last run started

    def close(self) -> None:
        """End the thread after its current run."""
        self._thread.shutdown()

    def wait(self) -> float:
        """Predict the seconds until a new request would run."""
        if not self._busy:
            return 0.0
        under_way = self._started + self._expected * self._slowness - time.perf_counter()
        waiting = 0.0
        for classifier, images in self._depths.items():
            waiting += classifier.costs.seconds(images)
        return max(0.0, under_way) + waiting * self._slowness

    async def predict(self, classifier: Classifier, pixels: bytes, record: Record | None = None) -> Results:
        """Return the results for n·784 pixels."""
        future: asyncio.Future[Results] = asyncio.get_running_loop().create_future()

        def done(result: Results | Exception) -> None:
            if future.done():  # cancelled while the model ran
                return
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.submit(classifier, pixels, done, lambda: not future.done(), record)
        return await future

    def submit(
        self,
        classifier: Classifier,
        pixels: bytes,
        done: Done,
        wanted: Callable[[], bool],
        record: Record | None = None,
    ) -> None:
        """Call `done` with the results for n·784 pixels, or with an error: at once, or in a later turn of the loop.

        The function that it returns is called after `done` of every request in the run. A request that is no longer
        `wanted` is dropped before its run.
        """
        now = time.perf_counter()
        size = len(pixels) // IMAGE_BYTES
        at_once = size == 1 and not (self._busy or self._ran_at_once or self._crowded)
        if at_once and classifier.costs.seconds(size) <= INLINE_SECONDS:
            self._ran_at_once = True
            asyncio.get_running_loop().call_soon(self._end_turn)
            batch = [_Request(0, 0, pixels, size, done, wanted, now, record)]
            self._begin(classifier, batch, size)
            self._run_inline(classifier, batch, size)
            return
        if not self._busy:
            self._busy = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._run, loop)
        tag = self._finish_tags[size] = max(self._finish_tags.get(size, 0), self._virtual_time) + size
        request = _Request(tag, next(self._numbers), pixels, size, done, wanted, now, record)
        heapq.heappush(self._queues.setdefault(classifier, []), request)
        self._depths[classifier] += size
        self._depth += size
        self._metrics.predictions.queue_depth.set(self._depth)

    def _end_turn(self) -> None:
        self._ran_at_once = False

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        classifier, batch = self._pop_batch()
        self._crowded = len(batch) > 1
        if classifier is None:  # no waiting request was wanted any more
            self._busy = self._backlogged = False
            return
        size = sum(request.size for request in batch)
        self._begin(classifier, batch, size)
        if self._expected > INLINE_SECONDS:
            run = loop.run_in_executor(self._thread, classifier.predict, _images(batch))
            run.add_done_callback(functools.partial(self._ran_in_thread, loop, batch))
            return
        if self._queues:  # the next run starts after the loop has read its sockets
            loop.call_soon(self._run, loop)
        else:
            self._busy = False
        self._run_inline(classifier, batch, size)

    def _run_inline(self, classifier: Classifier, batch: list[_Request], size: int) -> None:
        result: Run | Exception
        try:
            result = Run(classifier.predict_one(batch[0].pixels) if size == 1 else classifier.predict(_images(batch)))
        except Exception as error:  # noqa: BLE001 - every request in the batch must get a result or the error
            result = error
        self._record_run(size, batch)
        _deliver(batch, result)

    def _ran_in_thread(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Request], run: asyncio.Future[Probabilities]
    ) -> None:
        size = sum(request.size for request in batch)
        self._record_run(size, batch)
        self._run(loop)  # first, so that the thread works while the responses are written
        error = run.exception()
        _deliver(batch, Run(run.result()) if error is None else error)  # type: ignore[arg-type]  # no BaseException

    def _pop_batch(self) -> tuple[Classifier | None, list[_Request]]:
        """Return the next batch and its version; None and an empty list if nothing waits."""
        classifier: Classifier | None = None
        batch: list[_Request] = []
        while self._queues and not batch:
            classifier = min(self._queues, key=lambda version: self._queues[version][0][:2])
            batch = self._pop_batch_of(classifier)
        self._metrics.predictions.queue_depth.set(self._depth)
        return (classifier, batch) if batch else (None, [])

    def _pop_batch_of(self, classifier: Classifier) -> list[_Request]:
        """Return this version's next batch; cancelled requests leave the queue and cost nothing."""
        queue = self._queues[classifier]
        batch: list[_Request] = []
        size = 0
        popped = 0  # images, with those of cancelled requests
        while queue and not (batch and size + queue[0].size > self._max_batch):
            request = heapq.heappop(queue)
            self._virtual_time = max(self._virtual_time, request.finish_tag)
            popped += request.size
            if request.wanted():
                batch.append(request)
                size += request.size
        self._depth -= popped
        self._depths[classifier] -= popped
        if not queue:  # drop the reference to the version
            del self._queues[classifier], self._depths[classifier]
        return batch

    def _begin(self, classifier: Classifier, batch: list[_Request], size: int) -> None:
        now = time.perf_counter()
        if self._backlogged:
            self._learn(now - self._started)
        for request in batch:
            self._metrics.predictions.stages["queue"].observe(now - request.since)
            if request.record is not None:
                request.record.add_stage("queue", request.since, now)
                request.record.batch = size
        self._started, self._backlogged = now, bool(self._queues)
        self._expected = classifier.costs.seconds(size)

    def _record_run(self, size: int, batch: list[_Request]) -> None:
        now = time.perf_counter()
        seconds = now - self._started
        for request in batch:
            if request.record is not None:
                request.record.add_stage("inference", self._started, now)
        if not self._backlogged:
            self._learn(seconds)
        self._metrics.predictions.stages["inference"].observe(seconds)
        self._metrics.predictions.run_seconds.inc(seconds * len(batch))  # each request has waited for the whole run
        self._metrics.predictions.batch_size.observe(size)
        self._metrics.predictions.last_inference.set(time.time())

    def _learn(self, seconds: float) -> None:
        """Learn the slowness from the last run; with a backlog, `seconds` count until the next run's start.

        The influence of one run is limited: its delay may be over, as after a pause of the whole process.
        """
        measured = min(seconds / self._expected, 2 * self._slowness)
        self._slowness += LEARNING_RATE * (measured - self._slowness)


def _images(batch: list[_Request]) -> Pixels:
    return np.frombuffer(b"".join([item.pixels for item in batch]), np.uint8).reshape(-1, 1, 28, 28)


def _deliver(batch: list[_Request], result: Run | Exception) -> None:
    """Give each request its part of the run or the common error; then send all responses together.

    Responses sent one by one would each wake a sleeping client; of those sent together, most find it awake.
    """
    sends = []
    start = 0
    for request in batch:
        stop = start + request.size
        sends.append(request.done(result if isinstance(result, Exception) else Results(result, start, stop)))
        start = stop
    for send in sends:
        if send is not None:
            send()
