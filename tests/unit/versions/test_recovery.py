"""Which version is tried beside the one that serves, through `service.versions.manager.VersionManager`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from service.versions import choice
from service.versions.shared_state import SharedState
from tests.support.service import publish
from tests.support.versions import Followed, begin_copying, keep_changing, mend, spoil

if TYPE_CHECKING:
    from pathlib import Path

    from service.versions.canary import CanaryTrial


@pytest.fixture
def followed(models: Path) -> Followed:
    """Version 1 serves, and 2 is there, held back from being the latest."""
    publish(models, 2)
    followed = Followed(models)
    tell(followed, None)
    followed.models.start()
    return followed


def tell(followed: Followed, percent: float | None, number: int = 2) -> None:
    """What is told of a canary, and a look at once; None is `held`, as older versions of this program wrote it."""
    if percent is None:
        choice.canary_path(followed.settings).write_text(f"{number} held\n")
    else:
        choice.write_canary(followed.settings, number, percent)
    followed.models.poll_now()


async def canary(followed: Followed, percent: float) -> CanaryTrial:
    """The trial of version 2 that is begun next."""
    found = await followed.next_canary()
    assert found is not None
    assert found is followed.models.canary
    assert (found.classifier.version, found.percent) == ("2", percent)
    return found


def test_it_begins_gets_a_share_and_ends_as_it_is_told(followed: Followed) -> None:
    """A share is another trial of what is loaded already; `held`, and another version, are its end."""

    async def story() -> None:
        assert await followed.next() == "1"
        tell(followed, 0)
        first = await canary(followed, 0)
        tell(followed, 12.5)
        second = await canary(followed, 12.5)
        assert second.classifier is first.classifier
        tell(followed, None)
        assert await followed.next_canary() is None
        tell(followed, 50)
        await canary(followed, 50)
        tell(followed, 50, number=7)  # which is not there
        assert await followed.next() == "2"  # it is one like all others now, and the latest
        assert await followed.next_canary() is None

    followed.run(story)


def test_it_is_followed_without_an_order(followed: Followed) -> None:
    """Looking now and then is enough to see it begin and end."""

    async def story() -> None:
        assert await followed.next() == "1"
        choice.write_canary(followed.settings, 2, 30)
        await canary(followed, 30)
        choice.hold(followed.settings, 2)
        choice.remove_canary(followed.settings)
        assert await followed.next_canary() is None

    followed.run(story)


def test_one_that_is_promoted_is_tried_no_more(followed: Followed) -> None:
    """By a pin or by being the latest, it serves, and nothing is tried beside it."""

    async def story() -> None:
        assert await followed.next() == "1"
        tell(followed, 30)
        await canary(followed, 30)
        choice.pin(followed.settings, "2")
        followed.models.poll_now()
        assert await followed.next() == "2"
        assert await followed.next_canary() is None
        tell(followed, 60)
        choice.remove_canary(followed.settings)
        choice.unpin(followed.settings)
        tell(followed, 40, number=1)
        found = await followed.next_canary()
        assert found is not None
        assert (found.classifier.version, found.percent) == ("1", 40)

    followed.run(story)


def test_one_whose_files_change_is_loaded_anew(followed: Followed, models: Path) -> None:
    """The trial goes on with the new files."""

    async def story() -> None:
        assert await followed.next() == "1"
        tell(followed, 30)
        before = await canary(followed, 30)
        os.utime(models / "2" / "model.onnx", ns=(1, 1))
        after = await canary(followed, 30)
        assert after.classifier is not before.classifier

    followed.run(story)


def test_a_spoilt_one_is_refused_once_and_tried_again_on_an_order(followed: Followed, models: Path) -> None:
    """Nothing is tried until its files are mended; one that is under way ends when its files spoil."""

    async def story() -> None:
        assert await followed.next() == "1"
        reason = spoil(models, 2)
        for _ in range(2):
            tell(followed, 30)
            assert str(await followed.next()).startswith(reason)
        assert list(followed.models.loader.refused) == [2]
        mend(models, 2)
        await canary(followed, 30)
        spoil(models, 2)
        assert str(await followed.next()).startswith(reason)
        assert await followed.next_canary() is None

    followed.run(story)


def test_one_that_is_still_changing_is_waited_for(models: Path) -> None:
    """Told before it is there, it is loaded when its files rest, and so not refused."""
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        choice.write_canary(followed.settings, 2, 30)
        begin_copying(models, 2)
        await keep_changing(models, 2)
        mend(models, 2)
        await canary(followed, 30)

    followed.run(story)


def test_one_that_is_rolled_back_stays_so_until_it_is_told_again(models: Path) -> None:
    """In the worker that says so at once, in the others when they look; of two that say so the first is told."""
    publish(models, 2)
    shared_state = SharedState(shared=False)
    workers = [Followed(models, shared_state) for _ in range(3)]
    for worker in workers:
        choice.write_canary(worker.settings, 2, 30)
        worker.models.start()
    first, second, third = workers

    async def stop() -> None:
        begun = [await canary(worker, 30) for worker in workers]
        assert first.models.roll_back(begun[0])
        assert not first.models.roll_back(begun[0])
        assert not second.models.roll_back(begun[1])
        assert [worker.models.canary is None for worker in workers] == [True, True, False]
        for worker in workers:
            worker.models.poll_now()
            assert await worker.next_canary() is None

    async def story() -> None:
        for worker in workers:
            assert await worker.next() == "1"
        await stop()
        choice.write_canary(first.settings, 2, 30)
        await stop()

    first.run(lambda: second.follow(lambda: third.follow(story)))


def test_nothing_is_tried_while_nothing_serves(followed: Followed) -> None:
    """An order to unload ends the trial too, and one to load begins it again."""

    async def story() -> None:
        assert await followed.next() == "1"
        tell(followed, 30)
        await canary(followed, 30)
        await followed.models.unload()
        assert await followed.next_canary() is None
        assert await followed.next() is None
        await followed.models.load()
        assert await followed.next() == "1"
        await canary(followed, 30)

    followed.run(story)
