"""Micro-batching with the real model: every answer belongs to its request, and nothing is paid for the cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.inference.batcher import INLINE_SECONDS
from service.model.classifier import Classifier
from tests.support.inference import WatchedBatcher
from tests.support.service import MODELS

if TYPE_CHECKING:
    from service.arrays import Pixels, Probabilities
    from tests.support.pictures import Digits


def images_of(digits: Digits, count: int) -> Pixels:
    return digits.images[:count, None]


@pytest.mark.parametrize("threads", [False, True], ids=["in the loop", "in a thread"])
def test_thousands_at_once_each_get_their_own_answer(
    classifier: Classifier, digits: Digits, monkeypatch: pytest.MonkeyPatch, threads: bool
) -> None:
    """3,000 different pictures asked at the same time, in requests of 1 to 7, are all answered as offline."""
    monkeypatch.setattr("service.inference.batcher.INLINE_SECONDS", 0.0 if threads else INLINE_SECONDS)
    watched = WatchedBatcher(classifier)
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
    watched = WatchedBatcher(classifier)

    async def ask() -> None:
        for image in images_of(digits, 5):
            await watched.predict(image[None])

    asyncio.run(ask())
    assert watched.value("mnist_batch_size_count") == 5


def test_of_several_requests_in_a_turn_one_runs_at_once(classifier: Classifier, digits: Digits) -> None:
    """The rest share a run; while turns have several requests, all of them do."""
    watched = WatchedBatcher(classifier)
    images = images_of(digits, 8)

    async def ask() -> list[float]:
        runs = []
        for _ in range(3):
            answers = await asyncio.gather(*(watched.predict(image[None]) for image in images))
            assert np.abs(np.concatenate(answers) - classifier.predict(images)).max() < 1e-6
            runs.append(watched.value("mnist_batch_size_count"))
        for image in images[:3]:
            await watched.predict(image[None])
        return [*runs, watched.value("mnist_batch_size_count")]

    assert asyncio.run(ask()) == [2, 3, 4, 7]


def test_a_shared_run_is_the_time_of_each_request_in_it(classifier: Classifier, digits: Digits) -> None:
    """Three requests, of five pictures together, have waited for one run: its time counts three times."""
    watched = WatchedBatcher(classifier)

    async def ask() -> None:
        await asyncio.gather(*(watched.predict(images_of(digits, size)) for size in (2, 2, 1)))

    asyncio.run(ask())
    ran = watched.value("mnist_stage_duration_seconds_sum", stage="inference")
    assert watched.value("mnist_inference_run_seconds_total") == pytest.approx(3 * ran)


def test_cancelled_requests_cost_nothing(classifier: Classifier, digits: Digits) -> None:
    """A request that is given up while it waits leaves the queue before the model runs; its neighbour is answered."""
    watched = WatchedBatcher(classifier)
    images = images_of(digits, 3)

    async def ask() -> np.ndarray:
        given_up = asyncio.ensure_future(watched.predict(images[:2]))
        kept = asyncio.ensure_future(watched.predict(images[2:]))
        asyncio.get_running_loop().call_soon(given_up.cancel)
        answer = await kept
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return answer

    assert asyncio.run(ask())[0].argmax() == digits.labels[2]
    assert watched.value("mnist_batch_size_sum") == 1


def test_small_requests_do_not_wait_for_all_large_ones(classifier: Classifier, digits: Digits) -> None:
    """Twenty requests with one picture overtake twenty with 64; two hundred do not: 64 pictures each way, by turns.

    The first picture of all runs at once.
    """
    watched = WatchedBatcher(classifier)
    order: list[int] = []

    async def ask(size: int) -> None:
        await watched.predict(images_of(digits, size))
        order.append(size)

    async def ask_all(sizes: list[int]) -> None:
        await asyncio.gather(*map(ask, sizes))

    asyncio.run(ask_all([64] * 20 + [1] * 20))
    assert order[:20] == [1] * 20
    order.clear()
    asyncio.run(ask_all([1] * 200 + [64] * 2))
    assert order.index(64) == 65


def test_it_tells_how_long_the_queue_is(classifier: Classifier, digits: Digits) -> None:
    """An idle batcher predicts no wait; one with pictures waiting, what their runs cost."""
    watched = WatchedBatcher(classifier)

    async def ask() -> list[float]:
        waits = [watched.batcher.wait()]
        asked = [asyncio.ensure_future(watched.predict(images_of(digits, 64))) for _ in range(10)]
        await asyncio.sleep(0)  # they are waiting now
        waits.append(watched.batcher.wait())
        await asyncio.gather(*asked)
        return [*waits, watched.batcher.wait()]

    before, between, after = asyncio.run(ask())
    assert (before, after) == (0, 0)
    assert between >= classifier.costs.seconds(640)


@pytest.mark.parametrize("stopped", [False, True], ids=["nobody waited", "the process was stopped"])
def test_what_is_over_is_not_expected_again(
    classifier: Classifier, digits: Digits, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    """After time without work, behind requests that were given up, and after one long run: waits are as before."""
    watched = WatchedBatcher(classifier)
    images, real = images_of(digits, 64), classifier.predict

    def stopping(batch: Pixels) -> Probabilities:
        time.sleep(2)
        return real(batch)

    async def ask() -> float:
        if stopped:
            with monkeypatch.context() as once:
                once.setattr(classifier, "predict", stopping)
                await watched.predict(images)
        else:
            asked = [asyncio.ensure_future(watched.predict(images)) for _ in range(5)]
            await asked[0]
            assert not any(given_up.done() for given_up in asked[3:])
            for given_up in asked:
                given_up.cancel()
            await asyncio.sleep(2)
            await watched.predict(images)
        last = [asyncio.ensure_future(watched.predict(images)) for _ in range(10)]
        await asyncio.sleep(0)  # they are waiting now
        wait = watched.batcher.wait()
        await asyncio.gather(*last)
        return wait

    assert asyncio.run(ask()) < 20 * classifier.costs.seconds(640)


def test_no_run_mixes_two_versions(classifier: Classifier, digits: Digits) -> None:
    """Requests of two versions and five sizes, mixed: each is answered by its own version, and neither starves."""
    older, newer = Classifier.load(MODELS, "1"), Classifier.load(MODELS, "2")
    watched = WatchedBatcher(classifier)
    sizes = [1, 2, 5, 20, 64] * 20
    order: list[str] = []

    async def ask(version: Classifier, size: int) -> None:
        images = images_of(digits, size)
        found = await watched.batcher.predict(version, images.tobytes())
        assert np.abs(found.probabilities - version.predict(images)).max() < 1e-6
        order.append(version.version)

    async def ask_all() -> None:
        await asyncio.gather(*(ask(version, size) for size in sizes for version in (newer, older)))

    asyncio.run(ask_all())
    assert order.count("1") == order.count("2") == 100
    assert 40 <= order[:100].count("1") <= 60
    assert watched.value("mnist_batch_size_count") < 100
    assert watched.value("mnist_batch_size_sum") == 2 * sum(sizes)
    assert watched.value("mnist_queue_depth") == 0


def test_a_failing_run_fails_only_its_batch(
    classifier: Classifier, digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the runtime refuses a batch, each request in it gets the error, and the next one is answered."""
    watched = WatchedBatcher(classifier)
    real = classifier.predict

    async def ask() -> np.ndarray:
        with monkeypatch.context() as spoilt, pytest.raises(Exception, match="INVALID_ARGUMENT"):
            spoilt.setattr(classifier, "predict", lambda images: real(images[..., :5]))
            await watched.predict(images_of(digits, 2))
        return await watched.predict(images_of(digits, 2))

    assert asyncio.run(ask())[0].argmax() == digits.labels[0]
