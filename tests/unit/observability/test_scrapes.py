"""Scrapes are made together, and take a small share of a worker's time; each finds its own requests counted."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from service.errors import Overloaded
from service.observability.scrapes import MAX_WAITING, Scrapes
from tests.support.http import connect, read_response
from tests.support.service import running_service
from tests.support.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx
    from prometheus_client import Metric

    from tests.support.service import Service
    from tests.support.traffic import Expected

SCRAPERS = 64
ROUNDS = 5
SHORTEST = 0.013  # seconds from one scrape to the next, where one takes a millisecond


class Counted:
    """Collections, and how many there have been; each takes some CPU time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.count = 0
        self.broken = False
        self.begun = threading.Event()
        self._seconds = seconds

    def __call__(self) -> Iterable[Metric]:
        self.count += 1
        self.begun.set()
        if self.broken:
            raise OSError("no files")
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            pass
        return []

    def number(self, _: object) -> int:
        return self.count


def test_a_lone_scraper_finds_what_was_counted_before_it_asked() -> None:
    """Each of its scrapes is made after it asked."""
    counted = Counted()
    number = counted.number

    async def scrapes() -> list[int]:
        scraped = Scrapes(counted)
        return [await scraped.ask(number) for _ in range(5)]

    assert asyncio.run(scrapes()) == [1, 2, 3, 4, 5]


def test_who_asks_while_one_is_made_gets_the_next() -> None:
    """All that ask together share one, by what they make of it; who comes later may have counted more since."""
    counted = Counted(0.01)
    number, text = counted.number, str

    async def scrapes() -> list[object]:
        scraped = Scrapes(counted)
        first = asyncio.create_task(scraped.ask(number))
        await asyncio.to_thread(counted.begun.wait)
        together = [scraped.ask(number) for _ in range(20)] + [scraped.ask(text) for _ in range(20)]
        return [await first, *await asyncio.gather(*together)]

    assert asyncio.run(scrapes()) == [1, *[2] * 20, *["[]"] * 20]


def test_scrapes_take_a_tenth_of_the_time() -> None:
    """However many ask without a pause."""
    counted = Counted(0.004)
    number = counted.number

    async def spent() -> float:
        scraped = Scrapes(counted)
        end = time.monotonic() + 1

        async def scrape() -> None:
            while time.monotonic() < end:
                await scraped.ask(number)

        began = time.monotonic()
        await asyncio.gather(*(scrape() for _ in range(SCRAPERS)))
        return counted.count * 0.004 / (time.monotonic() - began)

    assert asyncio.run(spent()) < 0.15


def test_a_failure_is_told_to_all_and_the_next_is_made() -> None:
    """It does not end what makes them."""
    counted = Counted()
    number = counted.number

    async def scrapes() -> tuple[list[int | BaseException], int]:
        scraped = Scrapes(counted)
        counted.broken = True
        told = await asyncio.gather(*(scraped.ask(number) for _ in range(3)), return_exceptions=True)
        counted.broken = False
        return told, await scraped.ask(number)

    told, after = asyncio.run(scrapes())
    assert [str(error) for error in told] == ["no files"] * 3
    assert after == 2


def test_too_many_that_wait_are_refused() -> None:
    """Those that wait are answered nevertheless."""
    counted = Counted()
    number = counted.number

    async def scrapes() -> list[object]:
        scraped = Scrapes(counted)
        return await asyncio.gather(*(scraped.ask(number) for _ in range(MAX_WAITING + 5)), return_exceptions=True)

    told = asyncio.run(scrapes())
    assert told[:MAX_WAITING] == [1] * MAX_WAITING
    assert all(isinstance(error, Overloaded) for error in told[MAX_WAITING:])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("path", ["/metrics", "/v2/models/stats"])
def test_many_scrapers_share_their_scrapes(expected: Expected, workers: int, path: str) -> None:
    """Sixty-four, each with an `Accept` of its own, beside clients that get every answer: few scrapes are made."""
    with running_service(workers=workers) as service, Traffic(service.url, expected, keeping=2, fresh=1) as traffic:
        began = time.monotonic()
        bodies = scrapes_of_many(service, path)
        elapsed = time.monotonic() - began
        traffic.stop()
    assert traffic.answered
    assert [failure for failure in traffic.failures if " 503 " not in failure] == []
    assert len(bodies) > ROUNDS * SCRAPERS / 2
    # Each scrape has other numbers than the one before it, since the clients go on.
    most = max(len(bodies) / 8, elapsed * workers / SHORTEST)
    assert len(set(bodies)) < most


def scrapes_of_many(service: Service, path: str) -> list[bytes]:
    """What all scrapers are told when they ask at once, again and again, but for those that a busy machine refuses."""
    asked = [
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/plain;version=1.0.{number}\r\n\r\n".encode()
        for number in range(SCRAPERS)
    ]
    bodies = []
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(connect(service)) for _ in asked]
        streams = [connection.makefile("rb") for connection in connections]
        for _ in range(ROUNDS):
            for connection, request in zip(connections, asked, strict=True):
                connection.sendall(request)
            for status, _, body in map(read_response, streams):
                assert status in {200, 503}
                if status == 200:
                    bodies.append(body)
    return bodies


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (  # Prometheus 3
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
            "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("text/plain;version=x", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0.9", "text/plain; version=0.0.4; charset=utf-8"),
        (f"text/plain;version={'9' * 10_000}", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_one_that_scrapers_ask_for(client: httpx.Client, accept: str, kind: str) -> None:
    """By `Accept`; a version that does not exist gets the plain one, and is not echoed."""
    told = client.get("/metrics", headers={"Accept": accept}).raise_for_status()
    assert told.headers["content-type"] == kind
    assert told.text.endswith("# EOF\n") == kind.startswith("application/openmetrics-text")
    assert re.search(r"^# TYPE mnist_queue_depth gauge$", told.text, re.MULTILINE)
