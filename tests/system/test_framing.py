"""Requests that a proxy could read differently, on raw sockets: refused with 400, and nothing after them is read."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.hostile_bodies import SMUGGLED, fate, garbled, wrong_framing
from tests.support.http import connect, digit_of, exchange, read_response
from tests.support.pictures import Digits, png
from tests.support.service import Service, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPES = wrong_framing()
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "normal way"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """One service of each kind, for all that only ask; whoever waits for its deadline waits for ever."""
    with running_service(fast_path=request.param, timeout_seconds=600) as service:
        yield service


@pytest.mark.parametrize("name", SHAPES)
def test_what_can_be_read_in_two_ways_is_400(service: Service, name: str) -> None:
    """One answer, a problem that says why, and the connection is closed: the second request is not answered."""
    received = exchange(service, SHAPES[name] + SMUGGLED)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"400"], received
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"application/problem+json" in head
    assert json.loads(body)["reason"] == "bad_framing"


def test_a_request_before_it_is_answered(service: Service, digits: Digits) -> None:
    """A good request, and garbage behind it: the good one gets its answer, the garbage 400, and nothing is smuggled."""
    picture = png(digits.images[0])
    good = HEAD + b"Content-Length: %d\r\n\r\n" % len(picture) + picture
    received = exchange(service, good + b"\0garbage\r\n\r\n" + SMUGGLED)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"400"]
    assert received.count(b"connection: close") == 1


def test_garbage_in_a_body_is_400(service: Service) -> None:
    """A chunked body that breaks off into something else, after its app has begun to wait for it."""
    received = exchange(service, HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"g\r\n" + SMUGGLED)
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"400"]


def test_trailers_are_no_headers(service: Service, digits: Digits) -> None:
    """What comes after a chunked body is passed over: no id, no content type, no key can be set so."""
    picture = png(digits.images[0])
    body = b"%x\r\n%b\r\n0\r\nX-Request-ID: trailer\r\nContent-Type: application/json\r\n\r\n" % (len(picture), picture)
    head = HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    received = exchange(service, head + body)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"trailer" not in received


@pytest.mark.parametrize("apart", [False, True])
def test_an_upgrade_is_not_made_and_the_body_is_read(service: Service, digits: Digits, apart: bool) -> None:
    """Java's client asks for h2c with each request, body and all: it is answered over HTTP/1.1, and so is the next."""
    picture = png(digits.images[0])
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    head = HEAD + upgrade + b"Content-Length: %d\r\n\r\n" % len(picture)
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = connection.makefile("rb")
        for _ in range(2):
            for part in (head, picture) if apart else (head + picture,):
                connection.sendall(part)
            status, _, body = read_response(stream)
            assert (status, digit_of(body)) == (200, digits.labels[0])


@pytest.mark.parametrize("pieces", [1, 50])
def test_a_head_has_a_limit(service: Service, pieces: int) -> None:
    """32 KiB and 100 headers: what is longer is 431, at once or bit by bit."""
    long = HEAD + b"X: " + b"a" * 100_000 + b"\r\n\r\n"
    size = len(long) // pieces
    received = exchange(service, *(long[at : at + size] for at in range(0, len(long), size)))
    assert received.startswith(b"HTTP/1.1 431")
    assert exchange(service, HEAD + b"A: b\r\n" * 101 + b"\r\n").startswith(b"HTTP/1.1 431")
    many = {f"X-{number}": "a" * 300 for number in range(90)}
    assert httpx.get(f"{service.url}/livez", headers=many).status_code == 200


def test_a_head_without_end_is_cut_off(service: Service) -> None:
    """Whoever goes on sending a header is closed on."""
    with connect(service) as connection:
        connection.sendall(HEAD + b"X: ")
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(b"a" * 2**20)
    assert httpx.get(f"{service.url}/livez").status_code == 200


def test_garbled_requests_are_answered_or_closed_at_once(service: Service) -> None:
    """500 of them: no 5xx, none holds its connection, and the same process answers afterwards."""
    for sent in garbled(500, seed=1):
        statuses, _ = fate(service.url, sent)
        assert all(status < 500 for status in statuses), (sent, statuses)
    assert service.process.poll() is None
    assert httpx.get(f"{service.url}/livez").status_code == 200


def test_many_requests_at_once_are_all_answered(service: Service) -> None:
    """A thousand that come together, the last of which closes: each is read when the one before it is answered."""
    asked = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 999
    received = exchange(service, asked + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200"] * 1000
