"""Bodies that are small, and would be large, deep or slow: refused before they cost anything (`make hostile`: all)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.hostile_bodies import MEBIBYTE, bombs, costs
from tests.support.service import Service, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

BOMBS = bombs()
# The body itself is held as it comes, and once more when it is whole; and what of a gzip is unpacked before its limit.
ROOM = 64 * MEBIBYTE


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One of one worker, whose memory can be watched."""
    with running_service() as service:
        yield service


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_and_costs_little(service: Service, name: str) -> None:
    """A 4xx, less than 64 MiB more than before, and the service goes on."""
    with httpx.Client(base_url=service.url, timeout=60) as client:
        client.get("/readyz").raise_for_status()
        status, _, grown = costs(client, service.process.pid, BOMBS[name])
        assert 400 <= status < 500
        assert grown < ROOM
        assert client.get("/readyz").status_code == 200
