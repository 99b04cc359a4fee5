"""Requests leave nothing to the garbage collector: their memory is free when they are answered."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.http import connect, post, read_response
from tests.support.pictures import Digits, png
from tests.support.service import running_service

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 1500  # the collector passes after 700 objects at most that are not free
REFUSED = post(b"no picture")
MALFORMED = post(b"").replace(b"Host", b"X-Request-Timeout-Ms: none\r\nHost")


@pytest.fixture(params=["answered", "refused", "malformed"])
def request_(request: pytest.FixtureRequest, digits: Digits) -> bytes:
    """One of each sort."""
    return {"answered": post(png(digits.images[0])), "refused": REFUSED, "malformed": MALFORMED}[request.param]


def test_no_request_leaves_a_cycle(request_: bytes, tmp_path: Path) -> None:
    """Of 1,500 requests of one sort, fewer than one in a hundred leaves an object to the collector."""
    freed = tmp_path / "freed"
    under = [sys.executable, "-m", "tests.support.garbage", str(freed)]
    with running_service(under=under) as service, connect(service) as connection:
        stream = connection.makefile("rb")

        def ask(count: int) -> None:
            for _ in range(count):
                connection.sendall(request_)
                read_response(stream)

        ask(COUNT)
        before = int(freed.read_text())
        ask(COUNT)
        assert int(freed.read_text()) - before < COUNT / 100
