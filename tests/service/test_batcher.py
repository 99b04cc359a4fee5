"""Micro-batching with the real model: every answer belongs to its request, and nothing is paid for the cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.batcher import Batcher
from service.errors import Overloaded
from service.metrics import Metrics

if TYPE_CHECKING:
    from service.artefact import Probabilities
    from service.classifier import Classifier
    from service.picture import Pixels
    from tests.conftest import Digits


class Watched:
    """A batcher around the real model, with its metrics."""

    def __init__(self, classifier: Classifier, *, max_batch: int = 64, max_queue: int = 10_000) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.batcher = Batcher(self.metrics, max_batch=max_batch, max_queue=max_queue)
        self.classifier = classifier

    async def predict(self, images: Pixels) -> Probabilities:
        return await self.batcher.predict(self.classifier, images)

    def value(self, name: str) -> float:
        self.metrics.book.flush()
        value = self.registry.get_sample_value(name)
        assert value is not None
        return value


def images_of(digits: Digits, count: int) -> Pixels:
    return digits.images[:count, None]


def test_thousands_at_once_each_get_their_own_answer(classifier: Classifier, digits: Digits) -> None:
    """3,000 different pictures asked at the same time, in requests of 1 to 7, are all answered as offline."""
    watched = Watched(classifier)
    images = images_of(digits, 3000)
    cuts = np.cumsum(np.random.default_rng(0).integers(1, 8, 1000))
    requests = [part for part in np.split(images, cuts[cuts < 3000]) if len(part)]

    async def ask() -> list[np.ndarray]:
        return await asyncio.gather(*(watched.predict(part) for part in requests))

    answers = np.concatenate(asyncio.run(ask()))
    assert np.abs(answers - classifier.predict(images)).max() < 1e-6
    assert watched.value("mnist_batch_size_sum") == 3000
    assert watched.value("mnist_batch_size_count") < 100
    assert watched.value("mnist_queue_depth") == 0


def test_a_lone_request_is_a_batch_of_its_own(classifier: Classifier, digits: Digits) -> None:
    """Requests that come one after the other are run one by one, without waiting for company."""
    watched = Watched(classifier)

    async def ask() -> None:
        for image in images_of(digits, 5):
            await watched.predict(image[None])

    asyncio.run(ask())
    assert watched.value("mnist_batch_size_count") == 5


def test_cancelled_requests_cost_nothing(classifier: Classifier, digits: Digits) -> None:
    """A request that is given up while it waits leaves the queue before the model runs; its neighbour is answered."""
    watched = Watched(classifier)
    images = images_of(digits, 2)

    async def ask() -> np.ndarray:
        given_up = asyncio.ensure_future(watched.predict(images[:1]))
        kept = asyncio.ensure_future(watched.predict(images[1:]))
        asyncio.get_running_loop().call_soon(given_up.cancel)
        answer = await kept
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return answer

    assert asyncio.run(ask())[0].argmax() == digits.labels[1]
    assert watched.value("mnist_batch_size_sum") == 1


def test_a_full_queue_refuses_and_says_when_to_come_back(classifier: Classifier, digits: Digits) -> None:
    """What would pass the limit is refused at once with the limit and a wait; what is in the queue is answered."""
    watched = Watched(classifier, max_queue=4)
    images = images_of(digits, 6)

    async def ask() -> list[object]:
        return await asyncio.gather(*(watched.predict(image[None]) for image in images), return_exceptions=True)

    answers = asyncio.run(ask())
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert len(refused) == 2
    assert (refused[0].status, refused[0].limit, refused[0].retry_after_s) == (503, 4, 1)
    assert all(isinstance(answer, np.ndarray) for answer in answers[:4])


def test_a_failing_run_fails_only_its_batch(classifier: Classifier, digits: Digits) -> None:
    """When the runtime refuses a batch, each request in it gets the error, and the next one is answered."""
    watched = Watched(classifier)

    async def ask() -> np.ndarray:
        with pytest.raises(Exception, match="INVALID_ARGUMENT"):
            await watched.predict(np.zeros((1, 1, 5, 5), np.uint8))
        return await watched.predict(images_of(digits, 1))

    assert asyncio.run(ask())[0].argmax() == digits.labels[0]
