"""A request's body, through `service.connection.receive`: what arrives, what is unpacked of it, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import tracemalloc
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest
from starlette.requests import Request

from service.codec.compression import decompress
from service.connection.body_budget import BodyBudget
from service.connection.budget import Budget
from service.connection.limits import MIN_BYTES_PER_SECOND
from service.connection.receive import receive_body
from service.connection.start_queue import StartQueue
from service.drivers.asgi import admitted_body
from service.errors import DeadlineExceeded, Malformed, Overloaded, SlowRequest, TooLarge, UnknownMediaType
from service.picture.prepare import QUICK_BYTES
from service.settings import Settings
from service.system.spool import Spool
from tests.support.inference import Door

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from typing import Any

    from service.model.classifier import Classifier

LIMIT = 8 * 2**20  # twice as much as is unpacked at a time
PLAIN = bytes(range(256)) * (LIMIT // 256)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", PLAIN),
        ("identity", PLAIN),
        ("gzip", gzip.compress(PLAIN, mtime=0)),
        ("x-gzip", gzip.compress(PLAIN, mtime=0)),
        ("deflate", zlib.compress(PLAIN)),
        ("gzip", gzip.compress(PLAIN, mtime=0) + b"what follows its end"),
    ],
)
def test_a_body_of_every_encoding_comes_out_as_it_was(encoding: str, body: bytes) -> None:
    """As many bytes as may be, as they were."""
    assert decompress(body, encoding, limit=LIMIT) == PLAIN


def test_a_body_that_grows_over_the_limit_is_refused() -> None:
    """One byte more than may be; the limit is told."""
    with pytest.raises(
        TooLarge, match=r"^The decompressed body has more than 8,388,608 bytes, which is the "
    ) as caught:
        decompress(gzip.compress(PLAIN + b"x", mtime=0), "gzip", limit=LIMIT)
    assert caught.value.limit == LIMIT


def test_a_body_that_would_grow_far_is_unpacked_no_further() -> None:
    """What is held at once is a few times the limit, however much there would be."""
    body = gzip.compress(bytes(16 * LIMIT), 1)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decompress(body, "gzip", limit=LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LIMIT


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"plain", "The body is not gzip: Error -3 while decompressing data: incorrect header check."),
        (gzip.compress(b"plain", mtime=0)[:-1], "The gzip body breaks off."),
        (b"", "The gzip body breaks off."),
    ],
)
def test_a_damaged_body_is_refused(body: bytes, sentence: str) -> None:
    """It says whether the bytes are wrong or too few."""
    with pytest.raises(Malformed) as caught:
        decompress(body, "gzip", limit=LIMIT)
    assert caught.value.detail == sentence


def test_an_encoding_that_is_not_read_is_named() -> None:
    """And those that are."""
    with pytest.raises(UnknownMediaType) as caught:
        decompress(b"x", "br", limit=LIMIT)
    assert caught.value.detail == "Content-Encoding br is not one that is read here; send gzip or deflate."


SETTINGS = Settings.model_validate({"max_body_bytes": 1024, "timeout_seconds": 5})


def request(
    *pieces: bytes,
    headers: Mapping[str, str] = MappingProxyType({}),
    turns: StartQueue | None = None,
    ago: float = 0.0,
    later: float = 0.0,
    whole: bool = True,
) -> Request:
    """A request that has begun so many seconds ago; pieces after the first come so many seconds `later`.

    One that is not `whole` ends with its connection; after a whole one nothing comes. What ASGI takes for said is left
    out.
    """
    messages: list[MutableMapping[str, Any]] = []
    for number, piece in enumerate(pieces, 1):
        message: MutableMapping[str, Any] = {"type": "http.request"}
        if piece:
            message["body"] = piece
        if number < len(pieces) or not whole:
            message["more_body"] = True
        messages.append(message)
    if not whole:
        messages.append({"type": "http.disconnect"})

    async def receive() -> MutableMapping[str, Any]:
        if not messages:
            await asyncio.sleep(30)
        if later and len(messages) < len(pieces):
            await asyncio.sleep(later)
        return messages.pop(0)

    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    state = {"start_queue": turns or StartQueue(1, ()), "bodies": BodyBudget(Budget(), 2**22)}
    began = asyncio.get_running_loop().time() - ago
    scope = {"type": "http", "headers": named, "state": state, "began": began, "record": None}
    return Request(scope, receive)


async def received(request: Request, settings: Settings = SETTINGS) -> bytes:
    with request.state.bodies.track() as held, contextlib.closing(Spool()) as body:
        await receive_body(request, settings, held, body)
        return os.pread(body.descriptor(), body.size, 0)


async def admitted(request: Request, door: Door, settings: Settings = SETTINGS) -> tuple[bytes, float]:
    async with admitted_body(request, settings, door.admission) as (body, seconds):
        return body.small or b"", seconds


def arrived(*pieces: bytes, settings: Settings = SETTINGS, **about: Any) -> bytes:
    """The body of such a request."""

    async def read() -> bytes:
        return await received(request(*pieces, **about), settings)

    return asyncio.run(read())


def test_a_body_is_put_together_up_to_the_limit() -> None:
    """From as many pieces as it comes in, whatever is said of its length that is no number."""
    assert arrived(b"") == b""
    assert arrived(bytes(1024), headers={"content-length": "1024"}) == bytes(1024)
    assert arrived(b"a" * 1000, b"", b"b" * 24) == b"a" * 1000 + b"b" * 24
    assert arrived(b"short", headers={"content-length": "many"}) == b"short"


def test_a_body_over_the_limit_is_refused() -> None:
    """Before anything of it is received, where its length is told, or else when the limit is passed."""
    for pieces, about, sentence in (
        ((), {"headers": {"content-length": "1025"}}, "The body has 1,025 bytes; the limit is 1,024."),
        ((bytes(1000), bytes(25)), {"whole": False}, "The body has more than 1,024 bytes, which is the limit."),
    ):
        with pytest.raises(TooLarge) as refusal:
            arrived(*pieces, **about)
        assert (str(refusal.value), refusal.value.limit) == (sentence, 1024)


def test_a_body_whose_connection_ends_is_malformed() -> None:
    """However much of it had come."""
    for pieces in ((), (b"begun",)):
        with pytest.raises(Malformed) as refusal:
            arrived(*pieces, whole=False)
        assert str(refusal.value) == "The client closed the connection before the end of the body."


def test_what_has_arrived_earns_a_body_more_time() -> None:
    """At so many bytes a second, counted from the request's first byte and over the time that each has."""
    large = Settings.model_validate({"timeout_seconds": 5})
    first = bytes(100 * MIN_BYTES_PER_SECOND)
    assert arrived(first, b"end", settings=large, ago=100, later=0.01) == first + b"end"
    with pytest.raises(SlowRequest) as refusal:
        arrived(first, b"end", settings=large, ago=106, later=5)
    assert str(refusal.value) == "The body did not arrive within 5 s, nor at 16,384 bytes per second."
    with pytest.raises(SlowRequest):
        arrived(settings=large, ago=6)
    assert refusal.value.limit == 5


def test_a_body_that_came_in_pieces_waits_for_its_turn() -> None:
    """Many may have come at once; one that came whole has had its turn when it began."""
    order: list[str] = []

    async def story() -> None:
        turns = StartQueue(1, ())
        turns.enqueue(lambda _: order.append("before"), "/predict")

        async def read(name: str, *pieces: bytes) -> None:
            await received(request(*pieces, turns=turns))
            order.append(name)

        await asyncio.gather(read("pieces", b"a", b"b"), read("whole", b"ab"))

    asyncio.run(story())
    assert order == ["before", "whole", "pieces"]


def test_a_request_is_admitted_before_its_body_and_after_it(classifier: Classifier) -> None:
    """The time that it has left is told, and where it is over when the body is there, nothing is decoded."""
    door = Door(classifier, timeout_seconds=5)

    async def read(given: str | None, *pieces: bytes, later: float = 0.0) -> tuple[bytes, float]:
        headers = {} if given is None else {"x-request-timeout-ms": given}
        return await admitted(request(*pieces, headers=headers, later=later), door)

    assert asyncio.run(read(None, b"a", b"b")) == (b"ab", 5)
    with pytest.raises(Malformed, match=r"; found 'soon'\.$"):
        asyncio.run(read("soon"))  # nothing of its body has come
    body, seconds = asyncio.run(read("4000", b"a", b"b", later=0.02))
    assert body == b"ab"
    assert 3 < seconds < 3.99
    with pytest.raises(DeadlineExceeded, match=r"^The deadline of 0\.1 s in X-Request-Timeout-Ms had passed"):
        asyncio.run(read("100", b"a", b"b", later=0.2))


@pytest.mark.parametrize(
    ("length", "large"), [(None, True), ("many", True), (str(QUICK_BYTES + 1), True), (str(QUICK_BYTES), False)]
)
def test_only_large_bodies_wait_for_the_threads(classifier: Classifier, length: str | None, large: bool) -> None:
    """And those that don't say how large they are: refused before anything of them is received."""
    door = Door(classifier, max_wait_seconds=0.001)

    async def story() -> None:
        headers = {} if length is None else {"content-length": length}
        settings = Settings.model_validate({"max_body_bytes": 8192})
        if large:
            with pytest.raises(Overloaded):
                await admitted(request(headers=headers), door, settings)
        else:
            assert await admitted(request(b"ab", headers=headers), door, settings) == (b"ab", 10)

    door.while_files_wait(story)
