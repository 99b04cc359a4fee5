"""The fast path under real HTTP: whatever way bytes come, each request gets one answer, in its order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from service.picture.mnist_format import is_mnist_format
from service.picture.prepare import prepare
from tests.support.http import OCTETS, digit_of, post, read_response
from tests.support.pictures import Digits, png
from tests.support.service import Service, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.model.classifier import Classifier


@pytest.fixture
def connection(server: Service) -> Iterator[socket.socket]:
    """A connection of its own to the shared service."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        yield connection


def test_pipelined_requests_are_answered_in_their_order(connection: socket.socket, digits: Digits) -> None:
    """Small and large pictures, a bad one, another route: all sent at once, all answered, in the order sent."""
    small = [png(image) for image in digits.images[:3]]
    large = png(np.kron(digits.images[3], np.ones((20, 20), np.uint8)))
    other = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    requests = [post(small[0]), post(large), post(b"no picture"), other, post(small[1])]
    connection.sendall(b"".join(requests))
    stream = connection.makefile("rb")
    answers = [read_response(stream) for _ in requests]
    assert [status for status, _, _ in answers] == [200, 200, 415, 200, 200]
    found = [digit_of(answers[i][2]) for i in (0, 1, 4)]
    assert found == [digits.labels[0], digits.labels[3], digits.labels[1]]


def test_what_only_seems_to_be_in_mnists_form_is_prepared(
    connection: socket.socket, classifier: Classifier, digits: Digits
) -> None:
    """Digits off the middle, as pixels, files, numbers and in a form with good ones: as if each had come alone."""
    narrow = [image for image in digits.images[:400] if not image[:, 20:].any()][:4]
    aside = [np.roll(image, 6, axis=1) for image in narrow]
    assert not any(is_mnist_format(image.tobytes()) for image in aside)
    good = digits.images[0]
    form = [
        b'--b\r\nContent-Disposition: form-data; name=""; filename=""\r\n\r\n' + png(image)
        for image in (good, aside[3])
    ]
    connection.sendall(
        post(aside[0].tobytes(), kind="application/octet-stream")
        + post(png(good))
        + post(png(aside[1]))
        + post(json.dumps({"image": aside[2].tolist()}).encode(), kind="application/json")
        + post(b"\r\n".join([*form, b"--b--"]), kind="multipart/form-data; boundary=b")
    )
    stream = connection.makefile("rb")
    answers = [read_response(stream) for _ in range(5)]
    assert [status for status, _, _ in answers] == [200] * 5
    found = [one["probabilities"] for _, _, content in answers for one in json.loads(content)["predictions"]]
    seen = [prepare(image).pixels for image in (aside[0], good, aside[1], aside[2], good, aside[3])]
    assert np.abs(np.array(found) - classifier.predict(np.stack(seen)[:, None])).max() < 1e-6


def behind(known: bytes, digits: Digits) -> Iterator[tuple[str, list[bytes]]]:
    """What may come on a connection behind a request with two pictures, in the parts in which it is sent."""
    head, two = known[:-1568], digits.images[2:4].tobytes()
    other = head + two
    yield "the same head", [other]
    yield "an id that the client gave", [post(two, "X-Request-ID: mine", kind=OCTETS)]
    yield "more than one", [other + known]
    yield "one, and the head of another", [other + known[:30], known[30:]]
    yield "one, and a picture behind it", [other + two[:784]]
    yield "one in pieces", [other[:-784], other[-784:]]
    yield "one that is cut within its head", [other[:50], other[50:]]
    yield "what is prepared", [head + np.roll(digits.images[2:4], 6, axis=2).tobytes()]
    yield "what the app prepares", [head + bytes(range(98)) * 16]
    yield "a type in other letters", [other.replace(b"octet", b"OCTET")]
    yield "a type that is not read", [other.replace(b"application/", b"applicatiom/")]
    yield "a picture that is none", [post(b"x" * 1568)]
    yield "another length", [post(two[:784], kind=OCTETS)]
    yield "a shorter length", [other.replace(b"Length: 1568", b"Length: 1567")]
    yield "another route", [other.replace(b"/predict", b"/nowhere")]
    yield "another method", [b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"]
    yield "an older version", [other.replace(b"HTTP/1.1", b"HTTP/1.0")]


def test_a_head_that_comes_again_is_read_as_if_it_were_new(server: Service, digits: Digits) -> None:
    """Whatever comes behind a request whose head may be kept gets the answer that it gets on a new connection."""
    known = post(digits.images[:2].tobytes(), kind=OCTETS)
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    host, port = server.url.removeprefix("http://").split(":")

    def told(parts: list[bytes], before: tuple[list[bytes], ...] = ()) -> list[tuple[int, bytes]]:
        """Status and body of each answer to `parts`, ids left out."""
        found = []
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb")
            for request in before:
                for part in request:
                    connection.sendall(part)
                    time.sleep(0.01)
                assert read_response(stream)[0] == 200
            with contextlib.suppress(ConnectionError):  # closed behind a 400
                for part in (*parts, last):
                    connection.sendall(part)
                    time.sleep(0.01)
            with contextlib.suppress(ConnectionError):
                while stream.peek(1):
                    status, headers, body = read_response(stream)
                    found.append((status, body.replace(headers["x-request-id"].encode(), b"")))
        return found

    for what, parts in behind(known, digits):
        fresh = told(parts)
        assert fresh, what
        for before in ([[known]], [[known], [known]], [[known[:50], known[50:]]], [[known[:-784], known[-784:]]]):
            assert told(parts, tuple(before)) == fresh, what


@pytest.mark.parametrize("pause", [0.0, 0.002, 0.1])
def test_a_body_may_come_in_pieces(connection: socket.socket, digits: Digits, pause: float) -> None:
    """Head and body apart, the body byte by byte or after more than the fast path waits for: the same answer."""
    request = post(png(digits.images[0]))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = connection.makefile("rb")
    head, body = request[: request.index(b"\r\n\r\n") + 4], request[request.index(b"\r\n\r\n") + 4 :]
    for part in (head, body[:10], body[10:]):
        connection.sendall(part)
        time.sleep(pause)
    status, _, content = read_response(stream)
    assert (status, digit_of(content)) == (200, digits.labels[0])
    connection.sendall(request)  # and the connection goes on
    assert read_response(stream)[0] == 200


def test_old_and_closing_clients_are_closed_on(server: Service, digits: Digits) -> None:
    """HTTP/1.0, and `Connection: close`: answered, then closed."""
    host, port = server.url.removeprefix("http://").split(":")
    for request in (post(png(digits.images[0]), version="1.0"), post(png(digits.images[0]), "Connection: close")):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(request)
            received = b""
            while part := connection.recv(65536):
                received += part
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert digit_of(received.partition(b"\r\n\r\n")[2]) == digits.labels[0]


def test_expect_is_answered_before_the_body(connection: socket.socket, digits: Digits) -> None:
    """`Expect: 100-continue`, which curl sends with larger bodies: 100 first, then the answer."""
    request = post(png(digits.images[0]), "Expect: 100-continue")
    at = request.index(b"\r\n\r\n") + 4
    connection.sendall(request[:at])
    stream = connection.makefile("rb")
    assert stream.readline() + stream.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(request[at:])
    assert read_response(stream)[0] == 200


def test_ids_are_taken_over_or_made(connection: socket.socket, digits: Digits) -> None:
    """A client's X-Request-ID comes back; without one, each request gets its own; the date is there."""
    stream = connection.makefile("rb")
    seen = []
    for headers in (["X-Request-ID: mine-1"], [], []):
        connection.sendall(post(png(digits.images[0]), *headers))
        _, headers_back, _ = read_response(stream)
        seen.append(headers_back["x-request-id"])
        assert "date" in headers_back
    assert seen[0] == "mine-1"
    assert len(set(seen)) == 3


def test_each_of_thousands_at_once_gets_its_own_answer(server: Service, classifier: Classifier, digits: Digits) -> None:
    """3,000 different digits over 64 connections: every answer is the offline one of the picture that was sent."""
    host, port = server.url.removeprefix("http://").split(":")
    offline = classifier.predict(digits.images[:3000, None])

    async def ask(numbers: range) -> float:
        reader, writer = await asyncio.open_connection(host, int(port))
        worst = 0.0
        for number in numbers:
            writer.write(post(digits.images[number].tobytes(), kind="application/octet-stream"))
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            (prediction,) = json.loads(await reader.readexactly(length))["predictions"]
            worst = max(worst, float(np.abs(np.array(prediction["probabilities"]) - offline[number]).max()))
        writer.close()
        return worst

    async def all_at_once() -> list[float]:
        return await asyncio.gather(*(ask(range(start, 3000, 64)) for start in range(64)))

    assert max(asyncio.run(all_at_once())) < 1e-5


def test_clients_that_leave_are_counted_out(digits: Digits) -> None:
    """Fifty clients send a request and are gone: none of them is counted as under way for ever."""
    with running_service() as service:
        host, port = service.url.removeprefix("http://").split(":")
        for _ in range(50):
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close by RST
                connection.sendall(post(png(digits.images[0])))
        for _ in range(100):
            text = httpx.get(f"{service.url}/metrics").text
            if "mnist_http_requests_in_progress 1.0" in text:  # the scrape itself
                break
        else:
            pytest.fail("requests are under way whose clients have gone")


def test_requests_that_are_there_at_sigterm_are_answered(digits: Digits) -> None:
    """SIGTERM while requests are under way on many connections: each of them gets its answer."""
    with running_service() as service:
        host, port = service.url.removeprefix("http://").split(":")
        connections = [socket.create_connection((host, int(port)), timeout=20) for _ in range(20)]
        for connection in connections:
            connection.sendall(post(png(digits.images[0])))
            read_response(connection.makefile("rb"))  # so that it is known to the service
        slow = post(png(np.random.default_rng(0).integers(0, 255, (1500, 1500), np.uint8)))
        for connection in connections:
            connection.sendall(slow if connection is connections[0] else post(png(digits.images[0])))
        time.sleep(0.05)
        code = service.stop()
        statuses = [read_response(connection.makefile("rb"))[0] for connection in connections]
        for connection in connections:
            connection.close()
    assert code == 0
    assert statuses == [200] * 20
