"""Many connections that ask for much: nobody else waits for them, and what would wait too long is refused."""

from __future__ import annotations

import contextlib
import re
import signal
from typing import TYPE_CHECKING

import httpx

from tests.support.http import connect, digit_of, post, read_response
from tests.support.metrics import samples, value
from tests.support.pictures import Digits, png
from tests.support.service import Service, running_service

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

METADATA = b"GET /v2/models/mnist-mlp HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = METADATA.replace(b"Host", b"Connection: close\r\nHost")
ROUTE = {"route": "/v2/models/{model}", "method": "GET"}
COUNT = 200  # connections
MANY = 60  # requests on each


@contextlib.contextmanager
def flooding(service: Service, each: int) -> Iterator[list[socket.socket]]:
    """So many connections, on each of which `each` requests have been sent at once, the last of which closes it."""
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(connect(service)) for _ in range(COUNT)]
        for connection in connections:
            connection.sendall(METADATA * (each - 1) + LAST)
        yield connections


def statuses(connection: socket.socket) -> list[bytes]:
    """Of all answers until the service closes the connection."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return re.findall(rb"HTTP/1.1 (\d+)", received)


def answered(service: Service) -> float:
    """Requests for metadata that were answered."""
    return value(samples(f"{service.url}/metrics"), "mnist_http_requests_total", ROUTE | {"code": "200"})


def test_a_flood_of_metadata_holds_nobody_up(digits: Digits) -> None:
    """200 connections ask 60 times each, at once: a good client has 20 answers before they have half of theirs."""
    with running_service(max_wait_seconds=60) as service, connect(service) as good:
        stream = good.makefile("rb")
        with flooding(service, MANY) as connections:
            for image, label in zip(digits.images[:20], digits.labels[:20], strict=True):
                good.sendall(post(png(image)))
                status, _, body = read_response(stream)
                assert (status, digit_of(body)) == (200, label)
            assert answered(service) < COUNT * MANY / 2
            assert [statuses(connection) for connection in connections] == [[b"200"] * MANY] * COUNT


def test_what_would_wait_too_long_is_refused() -> None:
    """With 10 ms to wait: 503 and when to come back, while health is answered; then all is as before."""
    with running_service(max_wait_seconds=0.01) as service:
        with flooding(service, 5) as connections:
            assert httpx.get(f"{service.url}/readyz").status_code == 200
            reader = connections[-1].makefile("rb")
            answers = [read_response(reader) for _ in range(5)]
            status, headers, _ = next(answer for answer in answers if answer[0] != 200)
            assert (status, headers["retry-after"], headers["content-type"]) == (503, "1", "application/json")
            found = [status for connection in connections[:-1] for status in statuses(connection)]
        assert set(found) == {b"200", b"503"}
        assert len(found) == (COUNT - 1) * 5
        shed = value(samples(f"{service.url}/metrics"), "mnist_shed_requests_total", {"reason": "overloaded"})
        assert found.count(b"503") < shed <= found.count(b"503") + 5
        assert httpx.get(f"{service.url}/v2/models/mnist-mlp").status_code == 200


def test_requests_that_wait_for_their_turn_are_answered_at_sigterm() -> None:
    """SIGTERM with a thousand requests waiting: each is answered, and the last of each connection closes it."""
    with running_service(max_wait_seconds=60) as service, flooding(service, 5) as connections:
        service.process.send_signal(signal.SIGTERM)
        assert [statuses(connection) for connection in connections] == [[b"200"] * 5] * COUNT
        assert service.process.wait(60) == 0


def test_who_leaves_keeps_nobody_waiting(digits: Digits) -> None:
    """All of them go before their turn comes: their requests are not begun."""
    with running_service(max_wait_seconds=60) as service:
        with flooding(service, MANY):
            pass
        assert httpx.get(f"{service.url}/v2/models/mnist-mlp").status_code == 200
        assert answered(service) < COUNT * MANY / 4


def test_many_connections_at_once_are_taken_at_once(digits: Digits) -> None:
    """A client that comes after 200 others, all of whom keep the service busy, is answered long before they are."""
    with running_service(max_wait_seconds=60) as service, flooding(service, MANY) as connections:
        with connect(service) as good:
            good.sendall(post(png(digits.images[0])))
            assert read_response(good.makefile("rb"))[0] == 200
        assert answered(service) < COUNT * MANY / 2
        assert all(statuses(connection) == [b"200"] * MANY for connection in connections)


def test_a_body_of_tiny_chunks_is_read(digits: Digits) -> None:
    """A picture in chunks of a byte: the same answer, and the requests behind it are answered."""
    picture = png(digits.images[0])
    chunks = b"".join(b"1\r\n%b\r\n" % picture[at : at + 1] for at in range(len(picture)))
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    padding = b"1\r\n\0\r\n" * 20_000  # after a PNG's end there may be anything
    with running_service() as service, connect(service) as connection:
        connection.sendall((head + chunks + padding + b"0\r\n\r\n") * 2 + METADATA)
        stream = connection.makefile("rb")
        answers = [read_response(stream) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200] * 3
    assert [digit_of(body) for _, _, body in answers[:2]] == [digits.labels[0]] * 2
