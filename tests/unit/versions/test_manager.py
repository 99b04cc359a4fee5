"""`service.versions.manager.VersionManager`: which version answers, what it begins with, follows and refuses."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sys
from logging.handlers import QueueHandler
from typing import TYPE_CHECKING

import pytest

from service.errors import ModelError, NoModel
from service.model import check
from service.versions import choice, manager
from tests.support import hostile_models
from tests.support.service import publish, until
from tests.support.versions import LOOK, Followed, begin_copying, keep_changing, mend, spoil

if TYPE_CHECKING:
    from pathlib import Path

    from service.model.classifier import Classifier


def test_it_begins_with_the_highest_version_that_is_good(models: Path) -> None:
    """A spoilt one above is refused, and told when it is followed, before what serves."""
    publish(models, 2)
    reason = spoil(models, 2)
    followed = Followed(models)
    with pytest.raises(NoModel, match=r"^No model version is loaded; /readyz tells when one is\.$"):
        followed.models.served()
    followed.models.start()
    assert followed.models.served().version == "1"
    assert (followed.models.loader.name, followed.models.loader.numbers) == ("mnist-mlp", [2, 1])
    assert list(followed.models.loader.refused) == [2]

    async def story() -> None:
        told = await followed.next()
        assert told is not None
        assert told.startswith(reason)
        assert await followed.next() == "1"

    followed.run(story)


def test_a_chosen_version_is_the_only_one(models: Path) -> None:
    """Where a number is chosen, no other serves in its place."""
    publish(models, 2)
    reason = spoil(models, 2)
    for chosen, sentence in (
        ("2", reason),
        ("3", f"{models}: there is no version 3, which MNIST_MODEL_VERSION names; "),
    ):
        followed = Followed(models, model_version=chosen)
        with pytest.raises(ModelError) as refusal:
            followed.models.start()
        assert str(refusal.value).startswith(sentence)
        assert followed.models.current is None


def test_it_follows_folder_and_pin(models: Path) -> None:
    """A new version by itself, once its files rest; a pin and its end; always each change once."""
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        publish(models, 2)
        assert await followed.next() == "2"
        for pin, version in (("1", "1"), ("latest", "2")):
            choice.pin(followed.settings, pin)
            followed.models.poll_now()
            assert await followed.next() == version
        assert followed.models.served().version == "2"

    followed.run(story)


def test_what_is_still_changing_is_waited_for(models: Path) -> None:
    """Each look sees another thing: only what rests is loaded, and so nothing is refused."""
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        begin_copying(models, 2)
        await keep_changing(models, 2)
        mend(models, 2)
        assert await followed.next() == "2"

    followed.run(story)


def test_a_version_that_is_gone_gives_way(models: Path) -> None:
    """Where its files are no more, the next one below serves."""
    publish(models, 2)
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "2"
        shutil.rmtree(models / "2")
        assert await followed.next() == "1"

    followed.run(story)


def test_what_was_refused_is_tried_again_on_an_order(models: Path) -> None:
    """At each look at once, and not by itself; mended, it serves."""
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        publish(models, 2)
        reason = spoil(models, 2)
        for _ in range(2):
            followed.models.poll_now()
            assert str(await followed.next()).startswith(reason)
        with pytest.raises(ModelError) as refusal:
            await followed.models.load()
        assert str(refusal.value).startswith(reason)
        assert str(await followed.next()).startswith(reason)
        mend(models, 2)
        await followed.models.load()
        assert await followed.next() == "2"
        assert followed.models.loader.refused == {}

    followed.run(story)


def test_what_was_refused_is_not_tried_again_by_itself(models: Path) -> None:
    """Neither after the start nor after an order."""
    publish(models, 2)
    reason = spoil(models, 2)
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert str(await followed.next()).startswith(reason)
        assert await followed.next() == "1"
        await asyncio.sleep(LOOK * 5)
        assert followed.told.empty()
        with pytest.raises(ModelError):
            await followed.models.load()
        assert str(await followed.next()).startswith(reason)
        await asyncio.sleep(LOOK * 5)  # nothing more is told

    followed.run(story)


def test_orders_to_unload_and_load(models: Path) -> None:
    """What is unloaded stays so, whatever is looked at, until it is loaded again."""
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        await followed.models.unload()
        assert await followed.next() is None
        publish(models, 2)
        await followed.models.unload()
        assert followed.models.current is None
        await followed.models.load()
        assert await followed.next() == "2"

    followed.run(story)


def test_another_model_is_refused(models: Path) -> None:
    """A version in the folder that is one of another model."""
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        publish(models, 2)
        card = models / "2" / "model.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"name": "other"}))
        followed.models.poll_now()
        expected = f"{models}/2: expected model mnist-mlp, which is served, found other"
        assert await followed.next() == expected
        assert followed.models.served().version == "1"

    followed.run(story)


def test_trouble_is_logged_once(models: Path) -> None:
    """A pin of nonsense changes nothing, and is one line however often it is looked at; a new one is another."""
    followed = Followed(models)
    followed.models.start()
    lines: asyncio.Queue[logging.LogRecord] = asyncio.Queue()
    handler = QueueHandler(lines)

    async def story() -> None:
        assert await followed.next() == "1"
        for word, trouble in (
            ("newest", "a version's number, or latest, found something else"),
            ("x" * 81, "at most 80 bytes, found 81"),
        ):
            choice.pin_path(followed.settings).write_text(word)
            line = await asyncio.wait_for(lines.get(), 30)
            assert line.getMessage() == f"PINNED: expected {trouble}"
            await asyncio.sleep(LOOK * 5)  # other looks
            assert lines.empty()

    logging.getLogger("service").addHandler(handler)
    followed.run(story)
    logging.getLogger("service").removeHandler(handler)


def test_whatever_goes_wrong_the_looks_go_on(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also where who hears of a change fails: the log has it, and the next change is followed."""

    class Failing(Followed):
        def changed(self, classifier: Classifier | None) -> None:
            super().changed(classifier)
            if classifier is not None and classifier.version == "2":
                raise ValueError("heard enough")

    followed = Failing(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        publish(models, 2)
        assert await followed.next() == "2"
        choice.pin(followed.settings, "1")
        assert await followed.next() == "1"

    followed.run(story)
    (record,) = caplog.records
    assert record.getMessage() == "polling model versions failed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "heard enough"


def test_a_pin_to_a_missing_version_is_told_once(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What serves goes on; the number is there for the metric, and is gone when the version comes, or the pin goes."""
    followed = Followed(models)
    followed.models.start()
    line = "there is no version 7, which PINNED names; the folder has 1"

    async def story() -> None:
        assert await followed.next() == "1"
        assert followed.missing == {"choice": 0, "canary": 0}
        choice.pin(followed.settings, "7")
        await told(followed, "choice", 7)
        with pytest.raises(ModelError, match=line):
            await followed.models.load()
        assert followed.models.served().version == "1"
        choice.unpin(followed.settings)
        await told(followed, "choice", 0)
        choice.write_canary(followed.settings, 9, 5)
        await told(followed, "canary", 9)

    followed.run(story)
    canary = line.replace("7", "9").replace("PINNED", "CANARY")
    assert [record.getMessage() for record in caplog.records] == [f"{models}: {line}", f"{models}: {canary}"]


async def told(followed: Followed, what: str, number: int) -> None:
    """Wait until this version is told to be missing, and for some looks more."""
    await asyncio.to_thread(until, lambda: followed.missing[what] == number, f"{number} is not told")
    await asyncio.sleep(LOOK * 5)


def test_a_linked_version_is_refused_by_name(models: Path, tmp_path: Path) -> None:
    """Where it is chosen; under `latest` it is none."""
    publish(tmp_path, 2)
    (models / "2").symlink_to(tmp_path / "2")
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        choice.pin(followed.settings, "2")
        assert await followed.next() == f"{models}/2: expected a folder, found a symbolic link"

    followed.run(story)


def publish_slow(models: Path) -> None:
    """Version 2, whose check takes a minute."""
    hostile_models.publish(models / "2", hostile_models.MODELS["multiplications for a minute"][0]())


def test_nobody_waits_for_a_hanging_check(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that ordered it is answered, others unload meanwhile, and the end comes at once."""
    monkeypatch.setattr(check, "SECONDS", 3600.0)
    monkeypatch.setattr(manager, "COMMAND_SECONDS", 0.5)
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        publish_slow(models)
        with pytest.raises(ModelError, match=r"still being checked after 0\.5 s"):
            await followed.models.load()
        assert followed.models.served().version == "1"
        await followed.models.unload()
        assert await followed.next() is None

    followed.run(story)


def test_what_is_unloaded_meanwhile_stays_so(models: Path) -> None:
    """A version whose check has begun before the order does not come to serve after it."""
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        publish(models, 2)
        order = asyncio.create_task(followed.models.load())
        await asyncio.sleep(0.1)
        await followed.models.unload()
        assert await followed.next() is None
        with pytest.raises(ModelError):
            await order
        assert followed.models.current is None

    followed.run(story)


def test_where_no_process_can_be_started_it_is_tried_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is not refused for it, and serves once there can be one."""
    followed = Followed(models)
    followed.models.start()

    async def story() -> None:
        assert await followed.next() == "1"
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nowhere")
            publish(models, 2)
            await asyncio.sleep(LOOK * 10)
            assert followed.models.loader.refused == {}
        assert await followed.next() == "2"

    followed.run(story)
