"""Slow and silent clients, and too many: each is cut off in time, and the others are answered."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from service.connection.connections import PROTECTED_SECONDS
from tests.support.http import connect, post, read_response
from tests.support.metrics import connections_cut
from tests.support.pictures import Digits, png
from tests.support.processes import descriptors
from tests.support.service import ROOT, Service, running_service, until
from tests.support.slow import SORTS, Slow
from tests.support.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.traffic import Expected

SECONDS = 2.0  # to receive a request
COUNT = 100


@pytest.fixture(scope="module")
def impatient() -> Iterator[Service]:
    """A service that gives its clients little time."""
    with running_service(timeout_seconds=SECONDS, keep_alive_seconds=1) as service:
        yield service


@pytest.mark.parametrize("sort", SORTS)
def test_slow_clients_are_cut_off_in_time(impatient: Service, expected: Expected, sort: str) -> None:
    """A hundred of each sort: good clients get every answer meanwhile, and the descriptors come back."""
    httpx.get(f"{impatient.url}/livez")
    base = descriptors(impatient)
    with (
        Slow(impatient.url, sort, COUNT) as slow,
        Traffic(impatient.url, expected, keeping=2, fresh=1) as traffic,
    ):
        until(lambda: len(slow.lived) == COUNT, f"{COUNT - len(slow.lived)} are not cut off")
        traffic.stop()
    assert traffic.failures == []
    assert traffic.answered
    assert min(slow.lived) > SECONDS / 2
    until(lambda: descriptors(impatient) <= base, "descriptors do not come back")
    if sort in {"head", "body", "chunks"}:
        assert {told.partition(b"\r\n")[0] for told in slow.answers} == {b"HTTP/1.1 408 Request Timeout"}


def test_who_reads_next_to_nothing_is_cut_off_in_time(impatient: Service) -> None:
    """A client that reads once a minute is cut off before it reads again."""
    with Slow(impatient.url, "unread", 20, pause=60) as slow:
        until(lambda: len(slow.lived) == 20, f"{20 - len(slow.lived)} are not cut off")
    assert max(slow.lived) < 60


def test_a_body_that_moves_has_more_time(impatient: Service, digits: Digits) -> None:
    """A large picture over a line that is slow, and not too slow, takes longer than the time, and is answered."""
    body = png(np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8))
    request = post(body)
    began = time.monotonic()
    with connect(impatient) as connection:
        for at in range(0, len(request), 5000):  # at least 16 KiB/s
            connection.sendall(request[at : at + 5000])
            time.sleep(max(0, began + (at + 5000) / 40_000 - time.monotonic()))
        assert read_response(connection.makefile("rb"))[0] == 200
    assert time.monotonic() - began > SECONDS


def test_a_connection_that_is_quiet_is_closed(impatient: Service, digits: Digits) -> None:
    """After an answer, when the time to keep it is over; until then it takes another request."""
    with connect(impatient) as connection:
        stream = connection.makefile("rb")
        for _ in range(2):
            connection.sendall(post(png(digits.images[0])))
            assert read_response(stream)[0] == 200
        assert stream.read() == b""


def test_beyond_the_limit_the_slowest_makes_room(digits: Digits) -> None:
    """With 200 silent connections and room for 20, a good client is answered once these are a second old."""
    with running_service(max_connections=20) as service, Slow(service.url, "silent", 200) as slow:
        until(lambda: len(slow.lived) >= 180, "there are more connections than may be")
        until(lambda: _answers(service, digits), "nobody else is answered")
        for _ in range(30):
            assert _answers(service, digits)
        assert connections_cut(service, "full") >= 180
        told = [answer for answer in slow.answers if answer]
    assert all(answer.startswith(b"HTTP/1.1 503") for answer in told)


def _answers(service: Service, digits: Digits) -> bool:
    try:
        return httpx.post(f"{service.url}/predict", content=png(digits.images[0])).status_code == 200
    except httpx.TransportError:
        return False


def test_connections_that_are_kept_open_make_room(digits: Digits) -> None:
    """At the limit, the connection that has been idle longest after its response is closed, and the new one answered.

    So the time for which idle connections stay open may be long.
    """
    request = post(png(digits.images[0]))
    with running_service(max_connections=4) as service, contextlib.ExitStack() as opened:
        kept = [opened.enter_context(connect(service)) for _ in range(4)]
        for connection in kept:
            connection.sendall(request)
            assert read_response(connection.makefile("rb"))[0] == 200
            time.sleep(0.05)  # idle since the response is complete in the service too: their order is certain
        for number in range(2):
            time.sleep(PROTECTED_SECONDS)  # for so long, idle connections make no room
            new = opened.enter_context(connect(service))
            new.sendall(request)
            assert read_response(new.makefile("rb"))[0] == 200
            assert kept[number].recv(1) == b""
        kept[2].sendall(request)
        assert read_response(kept[2].makefile("rb"))[0] == 200


def test_few_descriptors_are_enough(digits: Digits) -> None:
    """64 of them, and 200 connections at once: good clients are answered soon, and the model is still followed."""
    with running_service(under=["prlimit", "--nofile=64:64"]) as service, Slow(service.url, "silent", 200):
        until(lambda: _answers(service, digits), "nobody else is answered")
        time.sleep(PROTECTED_SECONDS)  # for so long, silent connections make no room
        for _ in range(30):
            assert _answers(service, digits)
        assert descriptors(service) < 64


def test_too_few_descriptors_are_told() -> None:
    """One line that names the limit, and exit code 4."""
    ended = subprocess.run(
        ["prlimit", "--nofile=32:32", sys.executable, "-m", "service", "--port", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 4
    assert ended.stderr == "service: a process may open 32 files (RLIMIT_NOFILE); at least 64 are needed\n"
