"""Versions that change, break and are mended, and a manager that follows them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import TYPE_CHECKING

import httpx
import pytest

from service.model import layout
from service.settings import Settings
from service.versions import manager
from service.versions.manager import VersionManager
from service.versions.shared_state import SharedState
from tests.support.service import MODELS, Service, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from service.model.classifier import Classifier
    from service.versions.canary import CanaryTrial

LOOK = 0.05  # seconds: a look comes ten times as often as in the service


def wait_for_version(service: Service, version: str) -> None:
    """Wait until each worker names this version: of twenty new connections one at least reaches each."""

    def all_do() -> bool:
        named = {httpx.get(f"{service.url}/model").json()["version"] for _ in range(20)}
        return named == {int(version)}

    until(all_do, f"version {version} is not served")


def spoil(models: Path, version: int) -> str:
    """Empties a version's golden batch; how its refusal begins."""
    path = models / str(version) / "golden.npz"
    path.write_bytes(b"")
    return f"{path}: expected sha256"


def begin_copying(models: Path, version: int) -> None:
    """A committed version that is still being copied: all files are there, and one is not whole."""
    (models / str(version)).mkdir()
    for name in layout.FILES:
        shutil.copy(MODELS / str(version) / name, models / str(version) / name)
    spoil(models, version)


def mend(models: Path, version: int) -> None:
    """Puts the golden batch back, in one step: a look may be under way."""
    shutil.copy(MODELS / str(version) / "golden.npz", models / "mended")
    (models / "mended").replace(models / str(version) / "golden.npz")


def publish_with_card(models: Path, version: int, **changes: object) -> Path:
    """Version 2 under another number, with what is changed on its card; its folder."""
    folder = shutil.copytree(MODELS / "2", models / ".unfinished")
    card = json.loads((folder / "model.json").read_text()) | {"version": version} | changes
    (folder / "model.json").write_text(json.dumps(card))
    return folder.rename(models / str(version))


async def keep_changing(models: Path, version: int) -> None:
    """For several looks, of which each sees another thing."""
    for change in range(1, 31):
        os.utime(models / str(version) / "model.json", ns=(change, change))
        await asyncio.sleep(LOOK / 5)


class Followed:
    """The models of a folder, followed, and all that was told of them."""

    def __init__(self, folder: Path, shared_state: SharedState | None = None, **settings: object) -> None:
        self.settings = Settings.model_validate({"model_dir": folder, **settings})
        self.models = VersionManager(self.settings, shared_state or SharedState(shared=False))
        self.told: asyncio.Queue[str | None] = asyncio.Queue()
        self.tried: asyncio.Queue[CanaryTrial | None] = asyncio.Queue()
        self.missing: dict[str, int] = {}

    def changed(self, classifier: Classifier | None) -> None:
        self.told.put_nowait(None if classifier is None else classifier.version)

    async def next(self) -> str | None:
        """What is told next: a version, none, or a refusal."""
        return await asyncio.wait_for(self.told.get(), 30)

    async def next_canary(self) -> CanaryTrial | None:
        """What is tried next."""
        return await asyncio.wait_for(self.tried.get(), 30)

    async def follow(self, story: Callable[[], Coroutine[None, None, None]]) -> None:
        """Play a story while it is followed; nothing may be told that the story did not take."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(manager, "POLL_SECONDS", LOOK)
            hear = (self.changed, self.told.put_nowait, self.tried.put_nowait, self.missing.update)
            async with self.models.following(*hear):
                await story()
        assert self.told.empty()
        assert self.tried.empty()

    def run(self, story: Callable[[], Coroutine[None, None, None]]) -> None:
        """The same, in an event loop of its own."""
        asyncio.run(asyncio.wait_for(self.follow(story), 120))
