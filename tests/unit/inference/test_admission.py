"""Who is let in, through `service.inference.admission.Admission`, with a real queue of pictures and of files to
decode.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.errors import DeadlineExceeded, Malformed, Overloaded
from service.inference.admission import Admission
from service.reader.readers import Readers
from service.settings import Settings
from service.system.spool import Spool
from service.versions.manager import VersionManager
from service.versions.shared_state import SharedState
from tests.support.service import MODELS, png
from tests.unit.inference.test_batcher import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from service.model.classifier import Classifier

WAIT = 3.0  # seconds that the runs will take which wait, by what one costs
FILES = 50  # which wait


class Door:
    """What decides, with the committed model behind it."""

    def __init__(self, classifier: Classifier, *, serving: bool = True, **settings: float) -> None:
        chosen = Settings.model_validate({"model_dir": MODELS, "model_version": "2", **settings})
        models = VersionManager(chosen, SharedState(shared=False))
        if serving:
            models.start()
        self.run = models.current.costs.seconds(1) if models.current else 0.0  # seconds of one picture's
        self._watched = Watched(classifier)
        self._readers = Readers(chosen, self._watched.metrics)
        self.admission = Admission(chosen, models, self._watched.batcher, self._readers)

    def now(self, timeout: str | None = None, *, ago: float = 0.0, large: bool = False) -> float:
        """The seconds that a request has which has begun so long ago."""
        return self.admission.admit(timeout, time.perf_counter() - ago, large=large)

    def while_pictures_wait(self, story: Callable[[], None]) -> None:
        """Play a story while there are runs to be made first."""
        images = np.zeros((64, 1, 28, 28), np.uint8)

        async def played() -> None:
            runs = round(WAIT / self._watched.classifier.costs.seconds(64))
            asked = [asyncio.ensure_future(self._watched.predict(images)) for _ in range(runs)]
            await asyncio.sleep(0)  # they are waiting now
            story()
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

        asyncio.run(played())

    def while_files_wait(self, story: Callable[[], Coroutine[None, None, None]]) -> None:
        """Play a story while there are pictures to be prepared first, after one that has told how long each takes."""
        sheet = Spool(png(np.zeros((500, 500), np.uint8)))

        async def played() -> None:
            async with self._readers.started():
                await self._readers.read(sheet, "predict", content_type="")
                asked = [
                    asyncio.ensure_future(self._readers.read(sheet, "predict", content_type="")) for _ in range(FILES)
                ]
                await asyncio.sleep(0)
                await story()
                await asyncio.gather(*asked)

        asyncio.run(played())


def test_where_nothing_waits_a_request_has_the_services_time(classifier: Classifier) -> None:
    """With a model and without one, and whatever it brings."""
    for serving in (True, False):
        door = Door(classifier, serving=serving, timeout_seconds=7)
        assert (door.now(), door.now(large=True), door.now(ago=100)) == (7, 7, 7)


def test_a_client_may_have_less_time(classifier: Classifier) -> None:
    """Counted from the request's first byte; more than the service's own it does not get."""
    door = Door(classifier, timeout_seconds=7)
    assert door.now("60000") == 7
    assert 4.0 < door.now("5000", ago=0.5) <= 4.5
    with pytest.raises(DeadlineExceeded) as refusal:
        door.now("1500", ago=1.5)
    assert str(refusal.value) == "The 1.5 s that X-Request-Timeout-Ms gives had passed already."
    assert refusal.value.limit == 1.5


@pytest.mark.parametrize("timeout", ["", "0", "-1", "1.5", "1e3", " 5", "1000000000", "\u0665", "x" * 50])
def test_a_time_that_is_no_number_is_malformed(classifier: Classifier, timeout: str) -> None:
    """The sentence says what a number is, and quotes what was found as far as it is short."""
    with pytest.raises(Malformed) as refusal:
        Door(classifier).now(timeout)
    numbers = "a whole number of milliseconds from 1 to 999999999"
    assert str(refusal.value) == f"X-Request-Timeout-Ms is {numbers}; found {timeout[:40]!r}."


def test_the_longest_time_is_read(classifier: Classifier) -> None:
    """Both ends of the range."""
    door = Door(classifier, timeout_seconds=1e9)
    assert 900_000 < door.now("999999999") < 1_000_000
    with pytest.raises((DeadlineExceeded, Overloaded)):
        door.now("1", ago=0.001)


def test_who_would_wait_for_too_long_is_refused(classifier: Classifier) -> None:
    """503 with the wait, the limit, and when to come back."""
    door = Door(classifier, max_wait_seconds=0.5)

    def story() -> None:
        with pytest.raises(Overloaded) as refusal:
            door.now()
        sentence = r"A picture would wait for about (3|2\.9|3\.1) s; the limit is 0\.5 s\. Come back in ([34]) s\."
        found = re.fullmatch(sentence, str(refusal.value))
        assert found, refusal.value
        assert (refusal.value.limit, refusal.value.retry_after_s) == (0.5, int(found[2]))

    door.while_pictures_wait(story)
    assert door.now() == 10


def test_who_would_be_late_is_refused(classifier: Classifier) -> None:
    """A wait that all others may have is too long for who has less time than it, and its own run."""
    door = Door(classifier, max_wait_seconds=60)

    def story() -> None:
        assert door.now() == 10
        with pytest.raises(Overloaded) as refusal:
            door.now("1000")
        assert refusal.value.limit is not None
        assert 0 <= refusal.value.limit <= 1 - door.run

    door.while_pictures_wait(story)


def test_files_wait_for_others_to_be_decoded(classifier: Classifier) -> None:
    """Where they are large: the wait for the threads is theirs too."""
    door = Door(classifier, max_wait_seconds=0.001)

    async def story() -> None:
        assert door.now() == 10
        with pytest.raises(Overloaded):
            door.now(large=True)

    door.while_files_wait(story)
