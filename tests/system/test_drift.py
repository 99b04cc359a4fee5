"""The drift of a service of two workers: large on strange pictures, and small on usual ones."""

from __future__ import annotations

import csv
import math
import re
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.drift import drift, send
from tests.support.pictures import SEVEN, png
from tests.support.service import ROOT, running_service
from tests.support.versions import publish_with_card

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.support.pictures import Digits
    from tests.support.service import Service

    Stream = Callable[[Digits], Iterable[bytes]]

CELLS = ROOT.parent / "shared" / "data" / "ink" / "cells"  # photographs beside the checkout, where there are any
RULES = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
(THRESHOLD,) = map(float, re.findall(r"mnist_drift > (\S+)", RULES))
WITHIN = 500  # pictures


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Two workers that serve the newest committed version, whose card has a reference."""
    with running_service(workers=2, max_wait_seconds=60, timeout_seconds=60) as service:
        yield service


def mnist(digits: Digits) -> Iterable[bytes]:
    return map(png, digits.images)


def cells(_: Digits) -> Iterable[bytes]:
    """Photographed digits of sudokus, which have no zeros."""
    with (CELLS / "labels.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["label"] != "blank"]
    return [(CELLS / names[i]).read_bytes() for i in np.random.default_rng(18).permutation(len(names))]


def rotated(digits: Digits) -> Iterable[bytes]:
    """On their side, as photographs whose orientation was lost."""
    return (png(np.rot90(image)) for image in digits.images)


def noisy(digits: Digits) -> Iterable[bytes]:
    """Under so much noise that a person sees no digit."""
    rng = np.random.default_rng(18)
    return (png(np.clip(image + rng.normal(0, 96, image.shape), 0, 255).astype(np.uint8)) for image in digits.images)


def blank(_: Digits) -> Iterable[bytes]:
    return [png(np.full((60, 80), shade, np.uint8)) for shade in range(256)]


def sevens(digits: Digits) -> Iterable[bytes]:
    return map(png, digits.images[digits.labels == 7])


STRANGE: list[Stream] = [rotated, noisy, blank, sevens]


def answer(service: Service, pictures: Iterable[bytes], count: int = WITHIN) -> dict[str, float]:
    """The drift after so many pictures."""
    send(service, list(islice(pictures, count)))
    return drift(service)


@pytest.mark.parametrize("stream", STRANGE)
def test_strange_pictures_exceed_the_alerts_threshold(service: Service, digits: Digits, stream: Stream) -> None:
    """After usual pictures, 500 strange ones are far above it in one signal at least."""
    answer(service, mnist(digits))
    found = answer(service, cycle(stream(digits)))
    assert max(value for value in found.values() if not math.isnan(value)) > 4 * THRESHOLD


def test_usual_pictures_stay_below_the_alerts_threshold(service: Service, digits: Digits) -> None:
    """Windows of MNIST, of photographed cells where there are some, and of both are below it in every signal."""
    of_mnist = mnist(digits)
    answer(service, of_mnist)
    of_cells = cycle(cells(digits)) if CELLS.is_dir() else of_mnist
    for pictures in (of_mnist, of_mnist, of_cells, of_cells, of_mnist):
        found = answer(service, pictures, WITHIN // 2)
        assert len(found) == 5
        assert max(found.values()) < THRESHOLD, found


def test_a_reference_from_elsewhere_stops_no_service(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where the card's reference is anything else, pictures are answered, the drift is unknown, and the log says so."""
    publish_with_card(tmp_path, 3, reference={"bins": [1], "sources": "many"})
    with running_service(model_dir=tmp_path, model_version=3) as service:
        send(service, [SEVEN] * WITHIN)
        assert all(map(math.isnan, drift(service).values()))
    assert capfd.readouterr().err.count("no reference for the drift of") == 1


def test_every_worker_says_the_same(service: Service, digits: Digits) -> None:
    """Scrapes on many connections reach both workers, and find one drift."""
    answer(service, mnist(digits))
    assert len({tuple(drift(service).items()) for _ in range(8)}) == 1
