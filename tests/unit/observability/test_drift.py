"""The drift of the last pictures, whichever worker answers the scrape."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson
import pytest
from prometheus_client import CollectorRegistry

from service.observability.drift import FILE, STEP, WINDOW, Drift
from service.observability.metrics import Metrics
from service.observability.signals import BINS

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = {
    "pictures": 1000,
    "confidence": [0] * 10 + [1000],
    "ink_ratio": [*[0] * 5, 1000, *[0] * 4],
    "digits": [100] * 10,
    "polarity": [500, 500],
    "warnings": [0] * 6,
}
REFERENCE = {"bins": {signal: list(bins) for signal, bins in BINS.items()}, "sources": {"known": SOURCE}}


class Counted:
    """The metrics of pictures that a service has answered, over all of its workers."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._predictions = Metrics(self._registry).predictions

    def answer(self, pictures: int, digits: int = 10) -> None:
        """Count sure answers, evenly over the first digits."""
        for number in range(pictures):
            self._predictions.digits[number % digits].inc()
            self._predictions.confidence.observe(0.999)
            self._predictions.ink_ratio.observe(0.08)
            self._predictions.polarities["light_on_dark" if number % 2 else "dark_on_light"].inc()

    def drift(self, worker: Drift, folder: Path | None) -> dict[str, float]:
        return worker.measure(self._registry.collect(), folder)


def following(version: str = "1", reference: object = REFERENCE) -> Drift:
    """A worker that serves a version."""
    worker = Drift()
    worker.follow(version, "cafe", reference)
    return worker


@pytest.fixture(params=["one worker", "several workers"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """The folder that several workers share; None for a worker that is alone."""
    return None if request.param == "one worker" else tmp_path


def test_a_drift_needs_a_window_of_pictures(folder: Path | None) -> None:
    """It is not a number until so many pictures have been answered, and small where they are as expected."""
    counted, worker = Counted(), following()
    counted.answer(WINDOW - 1)
    assert all(map(math.isnan, counted.drift(worker, folder).values()))
    counted.answer(1)
    found = counted.drift(worker, folder)
    assert set(found) == set(BINS)
    assert all(0 <= value < 0.05 for value in found.values())


def test_the_window_leaves_out_what_was_before(folder: Path | None) -> None:
    """As many pictures of one digit as the window has are a drift, as large as if there had been no other."""
    counted, worker, other, fresh = Counted(), following(), Counted(), following()
    counted.answer(10 * WINDOW)
    assert counted.drift(worker, folder)["digits"] < 0.05
    counted.answer(WINDOW, digits=1)
    other.answer(WINDOW, digits=1)
    found = counted.drift(worker, folder)
    assert found["digits"] == other.drift(fresh, None)["digits"] > 2
    assert found["confidence"] < 0.05
    counted.answer(WINDOW)
    assert counted.drift(worker, folder)["digits"] < 0.05


def test_scrapers_do_not_change_the_window(folder: Path | None) -> None:
    """Scrapes after each picture give a window of little more, and keep few sums."""
    counted, worker = Counted(), following()
    counted.answer(WINDOW)
    for _ in range(WINDOW + STEP):
        counted.answer(1, digits=1)
        found = counted.drift(worker, folder)
    alone = Counted()
    alone.answer(WINDOW, digits=1)
    assert found["digits"] == pytest.approx(alone.drift(following(), None)["digits"])
    if folder is not None:
        _, sums = orjson.loads((folder / FILE).read_bytes())
        assert all(len(kept) <= WINDOW // STEP + 2 for kept in sums.values())


def test_workers_go_on_where_another_has_stopped(tmp_path: Path) -> None:
    """Whichever worker answers, the window is the same."""
    counted, workers = Counted(), [following() for _ in range(3)]
    for worker in workers:
        counted.answer(WINDOW, digits=5)
        counted.drift(worker, tmp_path)
    counted.answer(WINDOW)
    assert len({counted.drift(worker, tmp_path)["digits"] for worker in workers}) == 1
    assert counted.drift(workers[0], tmp_path)["digits"] < 0.05


def test_another_version_begins_another_window(folder: Path | None) -> None:
    """What a version has answered says nothing about the next, or about its own return later."""
    counted, worker = Counted(), following()
    counted.answer(WINDOW, digits=1)
    assert counted.drift(worker, folder)["digits"] > 2
    for version in ("2", "1"):
        worker.follow(version, "cafe", REFERENCE)
        assert math.isnan(counted.drift(worker, folder)["digits"])
    counted.answer(WINDOW)
    assert counted.drift(worker, folder)["digits"] < 0.05


def test_workers_change_their_version_one_after_another(tmp_path: Path) -> None:
    """Meanwhile the drift is unknown; then one window begins for all."""
    counted, first, second = Counted(), following(), following()
    counted.answer(WINDOW)
    assert counted.drift(second, tmp_path)["digits"] < 0.05
    first.follow("2", "cafe", REFERENCE)
    for worker in (first, second, first, second):
        assert math.isnan(counted.drift(worker, tmp_path)["digits"])
        counted.answer(STEP, digits=1)
    second.follow("2", "cafe", REFERENCE)
    assert math.isnan(counted.drift(first, tmp_path)["digits"])
    counted.answer(WINDOW)
    assert all(counted.drift(worker, tmp_path)["digits"] < 0.05 for worker in (second, first))


def test_a_version_without_reference_has_no_drift(folder: Path | None) -> None:
    """Also a version with a part of one has none of the other signals; the window of the next begins anew."""
    counted, worker = Counted(), following(reference=None)
    counted.answer(WINDOW)
    assert all(map(math.isnan, counted.drift(worker, folder).values()))
    worker.follow("2", "cafe", REFERENCE)
    assert math.isnan(counted.drift(worker, folder)["digits"])


def test_a_reference_that_cannot_be_used_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line of the log names the version and the signals."""
    broken = {"bins": REFERENCE["bins"], "sources": {"known": SOURCE | {"digits": "many", "polarity": [-1, 2]}}}
    worker, counted = following(reference=broken), Counted()
    counted.answer(WINDOW)
    for _ in range(3):
        found = counted.drift(worker, None)
    (line,) = caplog.messages
    assert line.startswith("the card of version 1 ")
    assert {signal for signal in BINS if signal in line} == {"digits", "polarity"}
    assert {signal for signal, value in found.items() if math.isnan(value)} == {"digits", "polarity"}


def test_sums_that_went_back_are_no_window(folder: Path | None) -> None:
    """Where the file of a worker is lost, later windows begin at what is left."""
    counted, fewer, worker = Counted(), Counted(), following()
    for pictures in (3 * WINDOW, STEP):
        counted.answer(pictures)
        counted.drift(worker, folder)
    fewer.answer(WINDOW, digits=1)
    assert fewer.drift(worker, folder)["digits"] > 2
    fewer.answer(WINDOW)
    assert fewer.drift(worker, folder)["digits"] < 0.05


def test_a_folder_without_room_stops_no_scrape(tmp_path: Path) -> None:
    """Without a file, the window is all that was answered."""
    counted, worker = Counted(), following()
    counted.answer(2 * WINDOW)
    assert counted.drift(worker, tmp_path / "missing")["digits"] < 0.05
