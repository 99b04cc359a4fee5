"""Clients that make the service hold what they send, or do not take: memory has a limit, and others are answered."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest

from service.connection.budget import Budget
from service.connection.longest import BATCH_SIZE, PAUSE_SECONDS, Longest
from tests.support.http import connect, exchange, read_response
from tests.support.pictures import Digits, png
from tests.support.service import Service, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 2**20
CONNECTIONS = 256
# A worker holds 8 MiB of bodies, and 4 of everything else, connections themselves among it.
LIMIT = 12 * MEBIBYTE
# The system's own allocation keeps what was freed, and what comes at once is read before anything is let go.
ROOM = 3 * LIMIT
QUIET = 0.3  # seconds in which the service takes nothing: it has all that it takes
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Attack(NamedTuple):
    """So many connections that send the same."""

    content: bytes
    connections: int = CONNECTIONS - 10
    room: int = ROOM


def asked(path: str, times: int) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode() * times


def body(path: str, size: int, sent: int) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
    return head % (path.encode(), size) + bytes(sent)


ATTACKS = {
    "heads that do not end": Attack(GET + b"X: " + b"a" * 32_000),
    "thousands of headers": Attack(GET + b"a:\r\n" * 8000),
    "silence after large heads": Attack(GET + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 320) for n in range(95)) + b"\r\n"),
    "requests behind requests": Attack((GET + b"\r\n") * 7000),
    "small bodies that do not end": Attack(body("/predict", 60_000, 59_999)),
    "small bodies": Attack(body("/predict", 50_176, 50_176)),
    "bodies that nobody reads": Attack(body("/nothing", 250_000, 250_000)),
    "large bodies that do not end": Attack(body("/predict", 8 * MEBIBYTE, 7 * MEBIBYTE), 20),
    "documents that nobody takes": Attack(asked("/openapi.json", 17)),
    "scrapes that nobody takes": Attack(asked("/metrics", 17)),
    "files that nobody takes": Attack(asked("/static-offline-docs/swagger-ui-bundle.js", 3), room=5 * LIMIT),
    "chunks of one byte": Attack(CHUNKED + b"1\r\na\r\n" * 100_000, 100),
    "a trailer that does not end": Attack(CHUNKED + b"1\r\na\r\n0\r\nX: " + b"a" * 8 * MEBIBYTE, 10),
    "a chunk's extension that does not end": Attack(CHUNKED + b"1;" + b"a" * 8 * MEBIBYTE, 10),
}


@contextlib.contextmanager
def held(service: Service, attack: Attack, seconds: float = 3) -> Iterator[None]:
    """Open the connections, send what is taken within so many seconds, and hold them, reading nothing."""
    host, port = service.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as selector:
        for _ in range(attack.connections):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect((host, int(port)))
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_WRITE, [memoryview(attack.content)])
        end = time.monotonic() + seconds
        while selector.get_map() and time.monotonic() < end and (ready := selector.select(QUIET)):
            for key, _ in ready:
                try:
                    key.data[0] = key.data[0][key.fileobj.send(key.data[0][:MEBIBYTE]) :]  # type: ignore[union-attr]
                except OSError:
                    key.data[0] = b""
                if not key.data[0]:
                    selector.unregister(key.fileobj)
        time.sleep(QUIET)
        yield


def peak(service: Service) -> int:
    """Bytes of memory, at most since it was looked at last."""
    process = Path(f"/proc/{service.process.pid}")
    found = int((process / "status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    (process / "clear_refs").write_text("5")
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_held_has_a_limit_and_others_are_answered(name: str, digits: Digits) -> None:
    """Memory grows by a small multiple of the budget at most, and a small picture is answered meanwhile."""
    picture = png(digits.images[0])
    with running_service(max_body_bytes=8 * MEBIBYTE, max_connections=CONNECTIONS) as service:
        assert httpx.post(f"{service.url}/predict", content=picture).status_code == 200
        before = peak(service)
        with held(service, ATTACKS[name]):
            assert httpx.post(f"{service.url}/predict", content=picture, timeout=20).status_code == 200
        assert peak(service) - before < ATTACKS[name].room
        assert httpx.get(f"{service.url}/livez").status_code == 200


def test_answers_that_nobody_takes_stop_a_connections_requests(digits: Digits) -> None:
    """Of five hundred documents that are asked for at once few are made before the client reads, and then all."""
    with running_service() as service, connect(service) as connection:
        connection.sendall(asked("/openapi.json", 500))
        time.sleep(1)
        assert _answered(service) < 200
        stream = connection.makefile("rb")
        assert {read_response(stream)[0] for _ in range(500)} == {200}


def _answered(service: Service) -> float:
    text = httpx.get(f"{service.url}/metrics").text
    found = [line for line in text.splitlines() if line.startswith("mnist_http_requests_total") and "other" in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.mark.parametrize(
    "content",
    [
        CHUNKED + b"1\r\na\r\n0\r\nX: " + b"a" * 100_000,
        CHUNKED + b"1\r\na\r\n0\r\n" + b"X: a\r\n" * 20_000,
        CHUNKED + b"1;" + b"a" * 100_000,
    ],
)
def test_what_is_no_body_has_a_limit(server: Service, content: bytes) -> None:
    """A trailer, trailers and an extension of more than 32 KiB are 431."""
    assert exchange(server, content).startswith(b"HTTP/1.1 431")


def test_headers_are_counted_as_they_come(server: Service) -> None:
    """The 101st of a head that does not end is refused."""
    received = exchange(server, GET + b"a:\r\n" * 101)
    assert received.startswith(b"HTTP/1.1 431")
    assert b"The request has 101 headers; the limit is 100." in received


def test_a_head_is_cut_off_at_its_limit(server: Service) -> None:
    """What is longer than 40 KiB with all that is no name and no value is refused before its end comes."""
    assert exchange(server, GET + b"X: " + b"a" * 41_000).startswith(b"HTTP/1.1 431")


def test_a_large_body_in_pipelined_requests_is_linear(digits: Digits) -> None:
    """Requests that come together cost the time of one each, however many are behind them."""
    with running_service() as service:

        def seconds(count: int) -> float:
            before = _cpu(service)
            asked = (GET + b"\r\n") * (count - 1) + GET + b"Connection: close\r\n\r\n"
            assert exchange(service, asked).count(b"HTTP/1.1 200") == count
            return _cpu(service) - before

        seconds(500)
        assert seconds(4000) < 8 * seconds(1000)


def _cpu(service: Service) -> float:
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Holder:
    """Something that can be let go."""

    def __init__(self, budget: Budget, size: int) -> None:
        self.share = budget.share(size, self.make_room)
        self.parts: list[int] = []

    def take(self, size: int) -> bool:
        self.parts.append(size)
        self.share.held += size
        return self.share.settle()

    def make_room(self, _: int) -> bool:
        if not self.parts:
            return False
        self.share.held -= self.parts.pop()
        return True


def test_who_has_more_than_its_share_makes_room() -> None:
    """Each may have what the others do not use, and always has its own."""
    budget = Budget()
    one, other = Holder(budget, 10), Holder(budget, 20)
    assert budget.limit == 30
    assert one.take(25)
    assert one.parts == [25]
    assert one.take(5)
    assert other.take(4)  # one has three times its share
    assert (one.parts, other.parts) == ([25], [4])
    assert other.take(20)
    assert (one.parts, other.parts) == ([], [4, 20])
    assert one.take(7)
    assert (one.parts, other.parts) == ([7], [4])
    assert not one.share.settle(31)
    assert one.parts == other.parts == []
    assert budget.full().limit == 30


def test_all_are_looked_at_once_for_many_that_make_room() -> None:
    """Who waits longest comes first; who has gone, or waits anew, is passed over; nobody is asked again in vain."""
    since = {number: float(number) for number in range(1000)}
    looks = 0

    def of(number: int) -> float:
        nonlocal looks
        looks += 1
        return since[number]

    longest = Longest(since, of)
    for number in range(BATCH_SIZE):
        assert longest.next(0) == (number, number)
        del since[number]
    assert looks < 1000 + 5 * BATCH_SIZE
    assert longest.next(0) == (BATCH_SIZE, BATCH_SIZE)
    since[BATCH_SIZE] = 5000.0
    assert longest.next(0) == (BATCH_SIZE + 1, BATCH_SIZE + 1)
    since.update(dict.fromkeys(since, float("inf")))
    assert longest.next(1) is None
    looks = 0
    assert longest.next(1 + PAUSE_SECONDS / 2) is None
    assert looks == 0
    since[999] = 7.0
    assert longest.next(1 + PAUSE_SECONDS) == (7.0, 999)
