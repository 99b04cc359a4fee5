"""Many large bodies at once: the worker's memory has a limit, and who is refused beyond it is told so."""

from __future__ import annotations

import contextlib
import io
import select
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.http import connect, post, read_response
from tests.support.pictures import Digits, png
from tests.support.service import PATIENCE, Service, running_service, until

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

LARGEST = 2**20
CONNECTIONS = 64
LIMIT = LARGEST + CONNECTIONS * 16_384


@pytest.fixture
def service() -> Iterator[Service]:
    """It holds 2 MiB of requests and responses."""
    with running_service(max_body_bytes=LARGEST, max_connections=CONNECTIONS, timeout_seconds=60) as service:
        yield service


def unfinished(service: Service, size: int) -> socket.socket:
    """A connection with a body of this size, but for its last byte."""
    connection = connect(service)
    connection.sendall(post(bytes(size))[:-1])
    return connection


def test_huge_bodies_leave_room_for_others(digits: Digits) -> None:
    """Of three that come, the one that would take the last 16 MiB is refused; two of 7 MiB beside them are not."""
    with running_service() as service, contextlib.ExitStack() as opened:
        huge = [opened.enter_context(unfinished(service, 16 * 2**20)) for _ in range(3)]
        assert len(answered(huge)) == 1
        others = [opened.enter_context(unfinished(service, 7 * 2**20)) for _ in range(2)]
        assert httpx.post(f"{service.url}/predict", content=png(digits.images[0])).status_code == 200
        assert len(answered(huge)) == 1
        assert not any(map(is_answered, others))


def noise(side: int) -> bytes:
    """A picture that cannot be made small."""
    return png(np.random.default_rng(0).integers(0, 255, (side, side), np.uint8))


def test_bodies_beyond_the_limit_are_refused_and_smaller_ones_are_not(service: Service, digits: Digits) -> None:
    """One of three gets 503 and when to come back; smaller ones are answered, and when they end, so are the others."""
    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(unfinished(service, 800_000)) for _ in range(3)]
        refused = answered(held)
        assert len(refused) == 1
        status, headers, content = read_response(refused[0].makefile("rb"))
        assert (status, headers["retry-after"]) == (503, "1")
        assert f'"limit":{LIMIT}'.encode() in content
        assert b"This worker holds 2,097,152 bytes of requests and responses, which is the limit." in content
        for small in (png(digits.images[0]), noise(200)):
            assert httpx.post(f"{service.url}/predict", content=small).status_code == 200
        for connection in held:
            if connection not in refused:
                connection.sendall(b"\0")
                assert read_response(connection.makefile("rb"))[0] == 415
    assert httpx.post(f"{service.url}/predict", content=noise(900)).status_code == 200


def answered(connections: list[socket.socket]) -> list[socket.socket]:
    """Wait for answers; the connections on which some have come."""
    return select.select(connections, [], [], PATIENCE)[0]


def is_answered(connection: socket.socket) -> bool:
    """Whether anything has come."""
    return bool(select.select([connection], [], [], 0)[0])


def test_photographs_go_on_beside_bodies_of_the_largest_size() -> None:
    """However many clients send as much as they may, again and again: who sends an eighth of it is answered."""
    largest = 4 * 2**20
    stopped, floods = False, 0

    def flood(service: Service) -> None:
        nonlocal floods
        while not stopped:
            with contextlib.suppress(OSError), unfinished(service, largest - 1000) as connection:
                read_response(connection.makefile("rb"))
            floods += 1
            time.sleep(0.02)  # who spins takes the processor from the service, not memory

    photograph = noise(700)
    with (
        running_service(max_body_bytes=largest, max_connections=128) as service,
        ThreadPoolExecutor(4) as pool,
    ):
        for _ in range(4):
            pool.submit(flood, service)
        until(lambda: floods > 10, "nobody floods")
        answers = [httpx.post(f"{service.url}/predict", content=photograph, timeout=20) for _ in range(10)]
        stopped = True
    assert [answer.text for answer in answers if answer.status_code != 200] == []


def test_slow_small_bodies_make_room(service: Service, digits: Digits) -> None:
    """Fifty of nearly 64 KiB, that is more than may be held: the oldest are refused, and a new one is answered."""
    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(unfinished(service, 60_000)) for _ in range(50)]
        assert httpx.post(f"{service.url}/predict", content=noise(200)).status_code == 200
        assert answered(held)[0] is held[0]
        assert not is_answered(held[-1])


def test_a_quarter_of_a_gibibyte_is_enough(digits: Digits) -> None:
    """With limits that fit, whatever comes at once: large bodies, and large pictures in small ones."""
    picture = Image.new("RGBA", (4000, 4000))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    bodies = [stream.getvalue()] * 8 + [bytes(8_000_000)] * 24
    with running_service(max_body_bytes=8 * 2**20, max_pixels=16_000_000) as service:
        with ThreadPoolExecutor(len(bodies)) as pool:
            statuses = list(
                pool.map(
                    lambda body: httpx.post(f"{service.url}/predict", content=body, timeout=60).status_code, bodies
                )
            )
        assert set(statuses) <= {200, 415, 503}
        assert 200 in statuses
        assert httpx.post(f"{service.url}/predict", content=png(digits.images[0])).status_code == 200
        status = Path(f"/proc/{service.process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) < 256 * 1024


def test_slow_bodies_make_room(service: Service) -> None:
    """Of bodies whose clients are slow the oldest is refused, so that a quick one is answered."""
    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(unfinished(service, 800_000)) for _ in range(2)]
        time.sleep(1.1)  # a second without a byte makes a client slow
        assert httpx.post(f"{service.url}/predict", content=noise(900)).status_code == 200
        assert read_response(held[0].makefile("rb"))[0] == 503
        held[1].sendall(b"\0")
        assert read_response(held[1].makefile("rb"))[0] == 415
