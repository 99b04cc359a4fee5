"""The rooms are as docs/architecture.md shows them."""

from __future__ import annotations

import re

from tests.docs import rooms
from tests.support.service import ROOT


def test_the_picture_is_of_today() -> None:
    """docs/rooms.svg is what `python -m tests.docs.rooms` draws."""
    assert rooms.PICTURE.read_text() == rooms.drawn()


def test_no_room_reaches_itself() -> None:
    """Neither package has a circle of imports, for types alone or not."""
    assert [rooms.circles(rooms.rooms(package)) for package in ("service", "training")] == [[], []]


def test_the_counts_are_told() -> None:
    """The document says how many rooms and floors there are."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    found = re.findall(r"(\d+) (?:rooms )?on (\d+)", " ".join(text.split()))[:2]
    houses = [rooms.rooms(package) for package in ("service", "training")]
    assert [tuple(map(int, pair)) for pair in found] == [(len(house), len(rooms.floors(house))) for house in houses]
