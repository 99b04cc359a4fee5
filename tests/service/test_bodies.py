"""Many large bodies at once: the worker's memory has a limit, and who is refused beyond it is told so."""

from __future__ import annotations

import contextlib
import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import Digits, Service, png, running_service
from tests.service.test_protocol import answer, post
from tests.service.test_shutdown import connect

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

LARGEST = 2**20
SECONDS = 2.0  # to receive a request


@pytest.fixture
def service() -> Iterator[Service]:
    """It holds 4 MiB of bodies."""
    with running_service(max_body_bytes=LARGEST, timeout_seconds=SECONDS) as service:
        yield service


def unfinished(service: Service) -> socket.socket:
    """A connection with a body of nearly 1 MiB, but for its last byte."""
    connection = connect(service)
    connection.sendall(post(bytes(LARGEST - 50_000))[:-1])
    return connection


def noise(side: int) -> bytes:
    """A picture that cannot be made small."""
    return png(np.random.default_rng(0).integers(0, 255, (side, side), np.uint8))


def test_bodies_beyond_the_limit_are_refused_and_small_ones_are_not(service: Service, digits: Digits) -> None:
    """The fifth of the largest gets 503 and when to come back; small ones are answered, and the four when they end."""
    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(unfinished(service)) for _ in range(4)]
        refused = httpx.post(f"{service.url}/predict", content=noise(900))
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["limit"] == 4 * LARGEST
        assert refused.json()["detail"].startswith("This worker holds 4,194,304 bytes of bodies, which is the limit.")
        for small in (png(digits.images[0]), noise(200)):
            assert httpx.post(f"{service.url}/predict", content=small).status_code == 200
        for connection in held:
            connection.sendall(b"\0")
            assert answer(connection.makefile("rb"))[0] == 415
    assert httpx.post(f"{service.url}/predict", content=noise(900)).status_code == 200


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
    """After the time that every body has, the oldest is refused, so that a quick one is answered."""
    with contextlib.ExitStack() as opened:
        held = [opened.enter_context(unfinished(service)) for _ in range(4)]
        time.sleep(SECONDS)
        assert httpx.post(f"{service.url}/predict", content=noise(900)).status_code == 200
        assert answer(held[0].makefile("rb"))[0] == 503
        held[1].sendall(b"\0")
        assert answer(held[1].makefile("rb"))[0] == 415
