"""Who answers a request while a version is tried, through `service.inference.router.Router`, with real versions."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.inference.batcher import Batcher
from service.inference.router import Router
from service.model.artefact import read
from service.model.uncertainty import warnings_for
from service.observability.metrics import Metrics
from service.versions import choice
from tests.support.graphs import next_digit, not_finite, publish_edited, raises
from tests.support.service import MODELS, publish
from tests.support.versions import Followed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from service.arrays import Pixels, Probabilities
    from service.inference.results import Results
    from service.inference.router import Chosen
    from service.model.classifier import Classifier


@pytest.fixture(scope="module")
def images(version_2: Classifier) -> Pixels:
    """The golden digits of version 2."""
    return read(MODELS, version_2.version).golden_images


class Rolled:
    """Version 2 serves, and version 1 or 3 is tried, as is told."""

    def __init__(self, models: Path, number: int, percent: float) -> None:
        publish(models, 2)
        self.following = Followed(models, model_version="2")
        choice.write_canary(self.following.settings, number, percent)
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.models = self.following.models
        self.models.start()

    def run(self, story: Callable[[], Coroutine[None, None, None]]) -> None:
        """Play a story once the trial has begun."""

        async def played() -> None:
            self.router = Router(self.models, Batcher(self.metrics, max_batch=64), self.metrics)
            assert await self.following.next() == "2"
            assert await self.following.next_canary() is not None
            await story()
            self.router.close()

        self.following.run(played)

    def choose(self, *, headers: Any = (), identity: str | None = None) -> Chosen:
        return self.router.choose(self.models.served(), headers, identity)

    async def predict(self, images: Pixels, chosen: Chosen | None = None) -> tuple[str, Probabilities]:
        """The version that answers, and what it says."""
        classifier, found = await self.router.run(chosen or self.choose(), images.tobytes())
        return classifier.version, found.probabilities

    async def submit(self, images: Pixels, chosen: Chosen | None = None) -> tuple[str, Probabilities]:
        """The same on the way of small requests."""
        ended: asyncio.Future[tuple[str, Probabilities]] = asyncio.get_running_loop().create_future()

        def done(classifier: Classifier, found: Results | Exception) -> Callable[[], None]:
            assert not isinstance(found, Exception)
            return functools.partial(ended.set_result, (classifier.version, found.probabilities))

        self.router.submit(chosen or self.choose(), images.tobytes(), done, lambda: True)
        return await asyncio.wait_for(ended, 30)

    def value(self, name: str, **labels: str) -> float | None:
        self.metrics.buffered.flush()
        return self.registry.get_sample_value(f"mnist_{name}", labels)


def test_without_a_trial_what_serves_answers(models: Path, images: Pixels, version_2: Classifier) -> None:
    """On both ways, and nothing is compared."""
    rolled = Rolled(models, 1, 100)

    async def story() -> None:
        choice.remove_canary(rolled.following.settings)
        rolled.models.poll_now()
        assert await rolled.following.next_canary() is None
        assert rolled.choose() == (rolled.models.current, rolled.models.current, None)
        for ask in (rolled.predict, rolled.submit):
            version, found = await ask(images[:5])
            assert version == "2"
            assert np.abs(found - version_2.predict(images[:5])).max() < 1e-6
        rolled.router.compare(rolled.choose(), images[:5].tobytes())
        assert rolled.value("canary_requests_total", result="answered") == 0

    rolled.run(story)


def test_an_id_chooses_the_headers_first(models: Path) -> None:
    """The id in the headers, else the request's own; with all of the share, it is always the canary."""
    rolled = Rolled(models, 1, 50)

    async def story() -> None:
        canary = rolled.models.canary
        assert canary is not None
        ids = [f"client-{number}" for number in range(100)]
        sides = {canary.answers(name): name for name in ids}
        for taken, name in sides.items():
            expected = canary.classifier if taken else rolled.models.served()
            by_header = [(b"x-request-id", name.encode())]
            for chosen in (
                rolled.choose(identity=name),
                rolled.choose(headers=by_header),
                rolled.choose(headers=by_header, identity=sides[not taken]),
            ):
                assert chosen == (expected, rolled.models.served(), canary)

    rolled.run(story)


@pytest.mark.parametrize("way", ["predict", "submit"])
def test_the_canary_answers_its_share(models: Path, images: Pixels, version_2: Classifier, way: str) -> None:
    """Its own probabilities under its own name, and each answer is counted."""
    rolled = Rolled(models, 1, 100)
    older = type(version_2).load(MODELS, "1")

    async def story() -> None:
        version, found = await getattr(rolled, way)(images[:5])
        assert version == "1"
        assert np.abs(found - older.predict(images[:5])).max() < 1e-6
        assert rolled.value("canary_requests_total", result="answered") == 1

    rolled.run(story)


@pytest.mark.parametrize("fault", [raises, not_finite])
def test_what_it_fails_on_is_answered_and_the_third_time_ends_it(
    models: Path, images: Pixels, version_2: Classifier, caplog: pytest.LogCaptureFixture, fault: Any
) -> None:
    """On both ways by the version that serves; the log says once which version was rolled back, and why."""
    row, column = np.argwhere(images.max(axis=(0, 1)) == 0)[0]  # where no golden digit has ink
    bad = images[:1].copy()
    bad[0, 0, row, column] = 255
    publish_edited(models, 3, lambda graph: fault(graph, row, column))
    rolled = Rolled(models, 3, 100)

    async def story() -> None:
        chosen = rolled.choose()  # all of them have begun before it is stopped
        for number, ask in enumerate((rolled.predict, rolled.submit) * 2, 1):
            version, found = await ask(bad, chosen)
            assert version == "2"
            assert np.abs(found - version_2.predict(bad)).max() < 1e-5
            assert rolled.value("canary_requests_total", result="failed") == number
            assert rolled.value("canary_rollbacks_total", reason="errors") == (number > 2)
        assert await rolled.following.next_canary() is None
        async with asyncio.timeout(30):
            while not rolled.value("shadow_answers_total", agreement="failed"):
                await rolled.submit(bad, chosen)  # and is compared, like every answer on this way
                await asyncio.sleep(0.01)

    rolled.run(story)
    (line,) = [record.getMessage() for record in caplog.records]
    why = "3 of its last 3 answers failed, and the limit is 3; this one with "
    assert line.startswith(f"the canary, version 3, is rolled back: {why}")
    if fault is not_finite:
        assert line.endswith("ValueError('probabilities that are not finite')")


@pytest.mark.parametrize("way", ["predict", "submit"])
def test_answered_requests_are_compared(models: Path, images: Pixels, way: str) -> None:
    """On the small way by itself, on the other when it is told; what serves answers, and no answer is the canary's."""
    rolled = Rolled(models, 1, 0)

    async def story() -> None:
        async with asyncio.timeout(30):
            while not rolled.value("shadow_answers_total", agreement="same"):
                assert (await getattr(rolled, way)(images[:1]))[0] == "2"
                if way == "predict":
                    rolled.router.compare(rolled.choose(), images[:1].tobytes())
                await asyncio.sleep(0.01)
        assert rolled.value("canary_requests_total", result="answered") == 0

    rolled.run(story)


def test_tensors_without_ink_say_nothing_of_the_canary(models: Path, images: Pixels, version_2: Classifier) -> None:
    """A canary that answers otherwise differs on a digit, and not on a blank tensor, of which version 2 is as sure."""
    publish_edited(models, 3, next_digit)
    rolled = Rolled(models, 3, 0)
    both = np.concatenate([images[:1], np.zeros_like(images[:1])])
    assert warnings_for(version_2.predict(both)) == [(), ()]

    async def story() -> None:
        async with asyncio.timeout(30):
            while not rolled.value("shadow_answers_total", agreement="different"):
                rolled.router.compare(rolled.choose(), both.tobytes())
                await asyncio.sleep(0.01)
        found = [rolled.value("shadow_answers_total", agreement=name) for name in ("same", "different", "doubted")]
        assert found[0] == 0
        assert found[1] == found[2]

    rolled.run(story)


def test_one_that_sees_other_digits_is_rolled_back(
    models: Path, images: Pixels, caplog: pytest.LogCaptureFixture
) -> None:
    """By what comparisons tell of it, whoever has answered; the log says why."""
    publish_edited(models, 3, next_digit)
    rolled = Rolled(models, 3, 1)

    async def story() -> None:
        chosen = rolled.choose(identity="client")
        async with asyncio.timeout(30):
            while not rolled.value("canary_rollbacks_total", reason="agreement"):
                rolled.router.compare(chosen, images.tobytes())
                await asyncio.sleep(0.01)
        assert await rolled.following.next_canary() is None

    rolled.run(story)
    (line,) = [record.getMessage() for record in caplog.records]
    why = "it agrees on 0.0% of 200 pictures; the limit is 90%"
    assert line == f"the canary, version 3, is rolled back: {why}"
