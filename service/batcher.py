"""Requests that are waiting → one run of the classifier.

In: images uint8[n,1,28,28] of one request, and the classifier that it began with. Out: their probabilities
float32[n,10]. No timer, no poll: what arrives in the same turn of the event loop is answered by one run at the turn's
end, so one lone request never waits and batches grow by themselves under load; a change of versions ends a batch. It
knows neither pictures nor HTTP.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.artefact import Probabilities
    from service.classifier import Classifier
    from service.metrics import Metrics
    from service.picture import Pixels


class _Waiting(NamedTuple):
    classifier: Classifier
    images: Pixels  # uint8[n,1,28,28]
    done: Callable[[Probabilities | Exception], None]
    wanted: Callable[[], bool]
    since: float  # seconds, perf_counter


class Batcher:
    """Groups waiting requests into runs of about `max_batch` images; refuses beyond `max_queue` waiting images."""

    def __init__(self, metrics: Metrics, *, max_batch: int, max_queue: int) -> None:
        self._metrics = metrics
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._waiting: deque[_Waiting] = deque()
        self._depth = 0  # images waiting
        self._seconds_per_image = 0.0  # moving average of the runs so far

    async def predict(self, classifier: Classifier, images: Pixels) -> Probabilities:
        """Probabilities float32[n,10] of images uint8[n,1,28,28]; raises `Overloaded` when the queue is full."""
        answer: asyncio.Future[Probabilities] = asyncio.get_running_loop().create_future()

        def done(found: Probabilities | Exception) -> None:
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        self.submit(classifier, images, done, lambda: not answer.done())
        return await answer

    def submit(
        self,
        classifier: Classifier,
        images: Pixels,
        done: Callable[[Probabilities | Exception], None],
        wanted: Callable[[], bool],
    ) -> None:
        """Call `done` with the images' probabilities, or with what went wrong, in a later turn of the event loop.

        What is not `wanted` any more when its turn comes is dropped. Raises `Overloaded` when the queue is full.
        """
        if self._depth and self._depth + len(images) > self._max_queue:
            raise self._overloaded()
        if not self._waiting:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._run, loop)
        self._waiting.append(_Waiting(classifier, images, done, wanted, time.perf_counter()))
        self._depth += len(images)
        self._metrics.queue_depth.set(self._depth)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take()
        if self._waiting:  # the rest gets its own turn, after the loop has looked at its sockets
            loop.call_soon(self._run, loop)
        if not batch:
            return
        started = time.perf_counter()
        for item in batch:
            self._metrics.stages["queue"].observe(started - item.since)
        images = batch[0].images if len(batch) == 1 else np.concatenate([item.images for item in batch])
        try:
            probabilities = batch[0].classifier.predict(images)
        except Exception as error:  # noqa: BLE001 - whatever it is, every request in the batch must get an answer
            for item in batch:
                item.done(error)
            return
        self._observe(len(images), time.perf_counter() - started)
        position = 0
        for item in batch:
            item.done(probabilities[position : position + len(item.images)])
            position += len(item.images)

    def _take(self) -> list[_Waiting]:
        """The next batch, oldest first; requests that were cancelled meanwhile leave the queue and cost nothing."""
        batch: list[_Waiting] = []
        size = 0
        while self._waiting:
            item = self._waiting[0]
            if batch and (size + len(item.images) > self._max_batch or item.classifier is not batch[0].classifier):
                break
            self._waiting.popleft()
            self._depth -= len(item.images)
            if item.wanted():
                batch.append(item)
                size += len(item.images)
        self._metrics.queue_depth.set(self._depth)
        return batch

    def _observe(self, size: int, seconds: float) -> None:
        self._seconds_per_image += 0.1 * (seconds / size - self._seconds_per_image)
        self._metrics.stages["inference"].observe(seconds)
        self._metrics.batch_size.observe(size)
        self._metrics.last_inference.set(time.time())

    def _overloaded(self) -> Overloaded:
        wait = self._depth * self._seconds_per_image
        return Overloaded(
            f"{self._depth} pictures are waiting and the limit is {self._max_queue}; try again in a moment.",
            limit=self._max_queue,
            retry_after_s=max(1, math.ceil(wait)),
        )
