"""Prepare pictures with readers, without an event loop: quick and slow ones, and ones that take too long."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import numpy as np

from service.batch import preparing as module
from service.batch.preparing import Preparing
from service.codec.body import Numbers
from service.errors import NotAPicture, ServiceError, TooLarge
from service.picture import prepare
from service.picture.prepare import PreparedImage
from service.reader import readers
from service.settings import Settings
from tests.support.pictures import SEVEN, drawn, png
from tests.support.processes import readers_of
from tests.support.service import until

if TYPE_CHECKING:
    import pytest

SETTINGS = Settings.model_validate({"workers": 1, "max_pixels": 50_000_000, "formats": "png,jpeg"})
SMALL, LARGE = png(drawn(28)), png(drawn(300))


def test_pictures_come_back_in_order_whatever_way_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick ones, pixels, ones for a reader, and refused ones; also in more bodies than one."""
    pixels = Numbers(drawn(28).tobytes())
    pictures: list[bytes | Numbers] = [SEVEN, LARGE, pixels, b"no picture", b"", SMALL, b"GIF89a", LARGE]
    with Preparing(SETTINGS) as preparing:
        found = preparing.prepare(pictures)
        monkeypatch.setattr(module, "BODY_BYTES", len(LARGE) + 1)
        assert list(map(str, preparing.prepare(pictures))) == list(map(str, found))
        assert preparing.prepare([]) == []
    expected = prepare.read(LARGE, max_pixels=10**6)
    assert found[1] == found[7] == expected
    assert found[2] == found[5] == prepare.read(SMALL, max_pixels=10**6)
    assert [isinstance(each, NotAPicture) for each in found] == [False, False, False, True, True, False, True, False]
    assert str(found[6]) == "This is a GIF, which is not read here; convert it to PNG or JPEG."


def test_a_picture_that_takes_too_long_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of its block are prepared, in their order."""
    monkeypatch.setattr(readers, "LARGE_SECONDS", 0.08)
    noise = png(np.random.default_rng(0).integers(0, 256, (3000, 3000), np.uint8))
    worst = png(drawn(7000))
    with Preparing(SETTINGS) as preparing:
        for pictures in ([LARGE, worst, SEVEN, LARGE], [noise + noise[:10], worst, LARGE]):
            found = preparing.prepare(pictures)
            assert isinstance(found[1], TooLarge)
            assert "0.08 s to read, which is the limit" in found[1].detail
            assert isinstance(found[-1], PreparedImage)
        assert isinstance(preparing.prepare([LARGE])[0], PreparedImage)


def test_readers_that_are_killed_between_two_blocks_are_replaced() -> None:
    others = {*readers_of(os.getpid())}  # of a service that other tests ask
    with Preparing(SETTINGS) as preparing:
        first = preparing.prepare([LARGE])
        own = {*readers_of(os.getpid())} - others
        assert own
        for reader in own:
            os.kill(reader, signal.SIGKILL)
        assert preparing.prepare([LARGE]) == first
        assert not isinstance(first[0], ServiceError)
    until(lambda: {*readers_of(os.getpid())} <= others, "a reader outlives its parent")
