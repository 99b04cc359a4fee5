"""New connections: each worker has its share of them, and none waits for a worker that does not come."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from service.connection.budget import Budget
from service.connection.connections import Connections
from service.connection.drain import Drain
from service.observability.metrics import Metrics
from service.process.accept import Acceptor
from service.process.connection_counts import ConnectionCounts
from service.settings import load
from tests.support.http import connect, post, read_response
from tests.support.metrics import successful_loads
from tests.support.pictures import Digits, png
from tests.support.processes import connections_of, worker_pids
from tests.support.service import Service, running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells connections by /proc")


@contextlib.contextmanager
def opened(service: Service, count: int) -> Iterator[list[socket.socket]]:
    """So many connections, made as fast as they can be."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(service)) for _ in range(count)]


def held(service: Service, worker: int) -> int:
    """The connections of a worker."""
    return connections_of(worker, int(service.url.rpartition(":")[2]))


def ready(service: Service) -> list[int]:
    """The workers, when there are two and each has taken a connection."""
    until(lambda: successful_loads(service) == 2, "the workers do not start")
    workers = worker_pids(service)
    taking: set[int] = set()

    def all_take() -> bool:
        with opened(service, 10):
            time.sleep(0.1)
            taking.update(pid for pid in workers if held(service, pid))
        return len(taking) == 2

    until(all_take, "a worker takes no connections")
    until(lambda: not any(held(service, pid) for pid in workers), "connections stay")
    return workers


@pytest.mark.parametrize(("own", "other", "ending", "left"), [
    (3, 2, False, True), (3, 3, False, False), (3, None, False, False), (9, 8, False, False), (3, 2, True, False),
])  # fmt: skip
def test_a_connection_is_left_to_who_has_fewer(
    monkeypatch: pytest.MonkeyPatch, own: int, other: int | None, *, ending: bool, left: bool
) -> None:
    """For a while, and not where this worker is ending; after it, the connection is taken here."""
    patience = 0.2 if left else 3600.0
    monkeypatch.setattr("service.process.accept.YIELD_SECONDS", patience)
    counts = ConnectionCounts(2)
    counts.assign([1, os.getpid()])
    if other is not None:
        with monkeypatch.context() as there:
            there.setattr("service.process.connection_counts.getpid", lambda: 1)
            counts.publish(other)

    async def seconds() -> float:
        begun = asyncio.Event()

        class Begun(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                begun.set()
                transport.close()

        connections = Connections(load([]), Metrics(CollectorRegistry()), Budget())
        monkeypatch.setattr(Connections, "count", own)
        drain = Drain(0.0)
        if ending:
            drain.closing.set()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            acceptor = Acceptor(listener, Begun, counts, connections, drain)
            began = time.monotonic()
            with socket.create_connection(listener.getsockname()):
                await asyncio.wait_for(begun.wait(), 30)
            acceptor.close()
        return time.monotonic() - began

    assert (asyncio.run(seconds()) >= 0.2) or not left


def test_each_worker_has_its_share(digits: Digits) -> None:
    """60 connections come at once, and 60 more: each of two workers has a fourth of all at least."""
    with running_service(workers=2, keep_alive_seconds=60) as service:
        workers = ready(service)

        def counts() -> list[int]:
            return [held(service, pid) for pid in workers]

        with opened(service, 60) as first:
            until(lambda: sum(counts()) > 55, "not all are taken")
            for connection in first[::2]:  # of whichever worker
                connection.sendall(post(png(digits.images[0])))
                assert read_response(connection.makefile("rb"))[0] == 200
            with opened(service, 60):
                until(lambda: sum(counts()) > 115, "not all are taken")
                assert min(counts()) >= 30


def test_a_worker_that_stands_still_keeps_no_connection_waiting(digits: Digits) -> None:
    """One of two is stopped, with fewer connections than the other has: the other takes and answers all that come."""
    with running_service(workers=2, stall_seconds=0) as service:
        stopped, _ = ready(service)
        os.kill(stopped, signal.SIGSTOP)
        try:
            with opened(service, 40) as connections:
                for connection in connections:
                    connection.sendall(post(png(digits.images[0])))
                    assert read_response(connection.makefile("rb"))[0] == 200
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_a_worker_in_the_place_of_another_gets_its_share() -> None:
    """After one of two was killed, the next connections go to the one that has come for it: it has none."""
    with running_service(workers=2, keep_alive_seconds=60, timeout_seconds=60) as service:
        killed, kept = ready(service)
        with opened(service, 40):
            os.kill(killed, signal.SIGKILL)
            until(lambda: len({*worker_pids(service)} - {killed}) == 2, "it is not replaced")
            (new,) = {*worker_pids(service)} - {killed, kept}

            def gets_some() -> bool:
                had = held(service, new)
                with opened(service, 10):
                    time.sleep(0.1)
                    return held(service, new) - had >= 8

            until(gets_some, "the new worker gets no connections")
