"""Requests that are waiting → one run of the classifier.

In: n·784 pixels of one request, and the classifier that it began with. Out: its `Results`. No timer, no poll: what
arrives in the same turn of the event loop is answered by one run at the turn's end, so one lone request never waits and
batches grow by themselves under load. A run that is long by its classifier's costs has a thread, so that the loop goes
on reading; what arrives meanwhile is the next batch. It knows neither pictures nor HTTP.

Requests of one size wait in one line, and the lines are served by turns, each with as many images as the others
(self-clocked fair queueing, Golestani 1994): requests with many images cannot starve those with one, nor the other way
round. No run mixes two versions of the model: each has a queue of its own, and a run takes from the one whose first
request is first by turns, so that neither starves the other.
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

from .results import Results, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..arrays import Probabilities
    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics

# A run that is predicted to take longer gets a thread; a shorter one costs less than handing it over would.
INLINE_SECONDS = 0.002
IMAGE = 784  # bytes
LEARNING_RATE = 0.1

# Takes a request's answers, or why there are none, and returns what is to be done with all of the run, if anything.
Done: TypeAlias = "Callable[[Results | Exception], Callable[[], None] | None]"


class _Waiting(NamedTuple):
    turn: int  # the images that its line will have been served with, counted over all lines alike
    number: int  # of the request: equal turns are taken in the order of arrival
    pixels: bytes  # n·784
    size: int  # n
    done: Done
    wanted: Callable[[], bool]
    since: float  # seconds, perf_counter


class Batcher:
    """Groups waiting requests into runs of about `max_batch` images."""

    def __init__(self, metrics: Metrics, *, max_batch: int) -> None:
        self._metrics = metrics
        self._max_batch = max_batch
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="run")  # begins with the first long run
        self._busy = False  # a run is under way, or will be in this turn of the loop
        self._waiting: dict[Classifier, list[_Waiting]] = {}  # a heap for each version that something waits for
        self._numbers = itertools.count()
        self._turns: dict[int, int] = {}  # the last turn of each line, by its size
        self._turn = 0  # the one that is served
        self._depths: Counter[Classifier] = Counter()  # images waiting for each version
        self._depth = 0  # and for all
        # What the clock says of runs over what they cost alone: other processes, and the loop's other work.
        self._slowness = 1.0
        self._started = 0.0  # the last run, perf_counter
        self._expected = 0.0  # seconds that it costs alone
        self._pressed = False  # there was more waiting than it could take

    def close(self) -> None:
        """Ends the thread; the run that it has begun is finished."""
        self._thread.shutdown()

    def wait(self) -> float:
        """Predicted seconds until a request that came now would be run."""
        if not self._busy:
            return 0.0
        under_way = self._started + self._expected * self._slowness - time.perf_counter()
        waiting = 0.0
        for classifier, images in self._depths.items():
            waiting += classifier.costs.seconds(images)
        return max(0.0, under_way) + waiting * self._slowness

    async def predict(self, classifier: Classifier, pixels: bytes) -> Results:
        """The answers to n·784 pixels."""
        answer: asyncio.Future[Results] = asyncio.get_running_loop().create_future()

        def done(found: Results | Exception) -> None:
            if answer.done():  # given up while the model ran
                return
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        self.submit(classifier, pixels, done, lambda: not answer.done())
        return await answer

    def submit(
        self,
        classifier: Classifier,
        pixels: bytes,
        done: Done,
        wanted: Callable[[], bool],
    ) -> None:
        """Call `done` with the answers to n·784 pixels, or with what went wrong, in a later turn of the event loop.

        What it returns is called when all requests of the run have been told. What is not `wanted` any more when its
        turn comes is dropped.
        """
        if not self._busy:
            self._busy = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._run, loop)
        size = len(pixels) // IMAGE
        turn = self._turns[size] = max(self._turns.get(size, 0), self._turn) + size
        waiting = _Waiting(turn, next(self._numbers), pixels, size, done, wanted, time.perf_counter())
        heapq.heappush(self._waiting.setdefault(classifier, []), waiting)
        self._depths[classifier] += size
        self._depth += size
        self._metrics.predictions.queue_depth.set(self._depth)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        classifier, batch = self._take()
        if classifier is None:  # nobody wants what had waited: until the next run begins nothing is done
            self._busy = self._pressed = False
            return
        images = np.frombuffer(b"".join([item.pixels for item in batch]), np.uint8).reshape(-1, 1, 28, 28)
        self._begin(classifier, batch, len(images))
        if self._expected > INLINE_SECONDS:
            run = loop.run_in_executor(self._thread, classifier.predict, images)
            run.add_done_callback(functools.partial(self._ran_in_thread, loop, batch))
            return
        found: Run | Exception
        try:
            found = Run(classifier.predict(images))
        except Exception as error:  # noqa: BLE001 - whatever it is, every request in the batch must get an answer
            found = error
        self._ended(len(images), len(batch))
        if self._waiting:  # the rest gets its own turn, after the loop has looked at its sockets
            loop.call_soon(self._run, loop)
        else:
            self._busy = False
        _answer(batch, found)

    def _ran_in_thread(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], run: asyncio.Future[Probabilities]
    ) -> None:
        size = sum(item.size for item in batch)
        self._ended(size, len(batch))
        self._run(loop)  # at once: the thread works while the answers are written
        error = run.exception()
        _answer(batch, Run(run.result()) if error is None else error)  # type: ignore[arg-type]  # no BaseException

    def _take(self) -> tuple[Classifier | None, list[_Waiting]]:
        """The next batch and its version; none where nothing waits."""
        classifier: Classifier | None = None
        batch: list[_Waiting] = []
        while self._waiting and not batch:
            classifier = min(self._waiting, key=lambda version: self._waiting[version][0][:2])
            batch = self._take_of(classifier)
        self._metrics.predictions.queue_depth.set(self._depth)
        return (classifier, batch) if batch else (None, [])

    def _take_of(self, classifier: Classifier) -> list[_Waiting]:
        """This version's next batch; requests that were cancelled meanwhile leave the queue and cost nothing."""
        queue = self._waiting[classifier]
        batch: list[_Waiting] = []
        size = 0
        taken = 0  # with what is not wanted any more
        while queue and not (batch and size + queue[0].size > self._max_batch):
            item = heapq.heappop(queue)
            self._turn = max(self._turn, item.turn)
            taken += item.size
            if item.wanted():
                batch.append(item)
                size += item.size
        self._depth -= taken
        self._depths[classifier] -= taken
        if not queue:  # a version that nothing waits for is let go
            del self._waiting[classifier], self._depths[classifier]
        return batch

    def _begin(self, classifier: Classifier, batch: list[_Waiting], size: int) -> None:
        now = time.perf_counter()
        if self._pressed:
            self._learn(now - self._started)
        for item in batch:
            self._metrics.predictions.stages["queue"].observe(now - item.since)
        self._started, self._pressed = now, bool(self._waiting)
        self._expected = classifier.costs.seconds(size)

    def _ended(self, size: int, requests: int) -> None:
        seconds = time.perf_counter() - self._started
        if not self._pressed:
            self._learn(seconds)
        self._metrics.predictions.stages["inference"].observe(seconds)
        self._metrics.predictions.run_seconds.inc(seconds * requests)  # each has waited for all of it
        self._metrics.predictions.batch_size.observe(size)
        self._metrics.predictions.last_inference.set(time.time())

    def _learn(self, seconds: float) -> None:
        """Learn from the last run; under pressure from all that was done until the next one could begin.

        One run tells little: what kept it may be over, as when the process was stopped for a while.
        """
        seen = min(seconds / self._expected, 2 * self._slowness)
        self._slowness += LEARNING_RATE * (seen - self._slowness)


def _answer(batch: list[_Waiting], found: Run | Exception) -> None:
    """Give each request its own part, or the error that they share; then let them send what they made of it.

    Sent one by one, each would wake a client that has gone back to sleep; sent together, most find it awake.
    """
    sends = []
    start = 0
    for item in batch:
        stop = start + item.size
        sends.append(item.done(found if isinstance(found, Exception) else Results(found, start, stop)))
        start = stop
    for send in sends:
        if send is not None:
            send()
