"""Ends and deaths of processes: whatever was accepted is answered, and what died or is stuck is replaced."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from tests.support.http import connect, post, read_response
from tests.support.metrics import successful_loads
from tests.support.pictures import Digits, png
from tests.support.processes import BLOCKING, worker_pids
from tests.support.service import VERSION, Service, running_service, until
from tests.support.traffic import Traffic

if TYPE_CHECKING:
    from tests.support.traffic import Expected


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_loses_nothing(expected: Expected, workers: int) -> None:
    """Clients that keep connections and clients that make them: each request that was sent is answered."""
    for _ in range(2):
        with running_service(workers=workers) as service, Traffic(service.url, expected) as traffic:
            until(lambda: traffic.answered[VERSION] > 50, "nothing is answered")
            service.process.send_signal(signal.SIGTERM)
            traffic.wait_until_refused()
            assert service.process.wait(60) == 0
        assert traffic.failures == []
        assert traffic.refused == traffic.keeping + traffic.fresh


def _go_on_to_end(service: Service) -> None:
    """SIGTERM to a process that stands still, which goes on: to the thread that answers, which else might answer some
    before another has seen it."""
    pid = service.process.pid  # its first thread's, too
    assert ctypes.CDLL(None).tgkill(pid, pid, signal.SIGTERM) == 0
    service.process.send_signal(signal.SIGCONT)


def test_connections_that_were_not_read_at_sigterm_are_answered(digits: Digits) -> None:
    """Requests that come while the process stands still, and then SIGTERM: on old and on new connections, all of them.

    The new ones are not even accepted when the signal comes: they wait in the socket's backlog.
    """
    request = post(png(digits.images[0]))
    with running_service(keep_alive_seconds=60) as service, contextlib.ExitStack() as opened:
        connections = [opened.enter_context(connect(service)) for _ in range(10)]
        for connection in connections:
            connection.sendall(request)
            assert read_response(connection.makefile("rb"))[0] == 200
        service.process.send_signal(signal.SIGSTOP)
        connections += [opened.enter_context(connect(service)) for _ in range(20)]
        for connection in connections:
            connection.sendall(request)
        _go_on_to_end(service)
        answers = [read_response(connection.makefile("rb")) for connection in connections]
        assert service.process.wait(60) == 0
    assert {status for status, _, _ in answers} == {200}
    assert {headers["connection"] for _, headers, _ in answers} == {"close"}


def test_pipelined_requests_are_answered_at_sigterm(digits: Digits) -> None:
    """Several requests at once on one connection: the last answer closes it, and none before."""
    small, other = post(png(digits.images[0])), b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    aside = post(png(np.roll(digits.images[0], 3, axis=1)))  # is looked at twice
    with running_service() as service, connect(service) as connection:
        service.process.send_signal(signal.SIGSTOP)
        connection.sendall(small + other + small + other + aside)
        _go_on_to_end(service)
        stream = connection.makefile("rb")
        answers = [read_response(stream) for _ in range(5)]
        assert stream.read() == b""
    assert [status for status, _, _ in answers] == [200] * 5
    assert ["connection" in headers for _, headers, _ in answers] == [False, False, False, False, True]


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_not_ready_before_it_stops_answering(digits: Digits, workers: int) -> None:
    """During the drain /readyz says 503 and why, and everything else is answered and closes its connection."""
    with running_service(workers=workers, drain_seconds=20) as service:
        service.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 503, "it is still ready")
        assert httpx.get(f"{service.url}/readyz").json() == {"status": "the service is shutting down"}
        for path in ("/predict", "/predict?explain=1"):
            answered = httpx.post(f"{service.url}{path}", content=png(digits.images[0]))
            assert (answered.status_code, answered.headers["connection"]) == (200, "close")
        service.process.send_signal(signal.SIGINT)  # who presses Ctrl-C does not want to wait
        assert service.process.wait(60) == 0


def test_idle_connections_do_not_hold_the_end_up(digits: Digits) -> None:
    """Clients that keep a connection open and ask nothing are closed on, long before the time to end is over."""
    with running_service() as service, contextlib.ExitStack() as opened:
        idle = [opened.enter_context(connect(service)) for _ in range(5)]
        idle[0].sendall(post(png(digits.images[0])))
        assert read_response(idle[0].makefile("rb"))[0] == 200
        assert service.stop() == 0
        assert [connection.recv(1) for connection in idle] == [b""] * 5


def test_sighup_replaces_the_workers_one_at_a_time(expected: Expected) -> None:
    """Each is another process afterwards, and no request is lost meanwhile."""
    # Few clients: new workers have to start beside them.
    with running_service(workers=2) as service, Traffic(service.url, expected, keeping=2, fresh=1) as traffic:
        before = set(worker_pids(service))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(set(worker_pids(service)) - before) == 2, "the workers are not replaced")
        until(lambda: not set(worker_pids(service)) & before, "the old workers do not end")
        traffic.stop()
        assert len(worker_pids(service)) == 2
    assert traffic.failures == []
    assert traffic.refused == 0


def test_a_killed_worker_is_replaced(expected: Expected) -> None:
    """After SIGKILL there are two again, and both answer right."""
    with running_service(workers=2) as service:
        first, second = worker_pids(service)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(set(worker_pids(service)) - {first}) == 2, "it is not replaced")
        assert second in worker_pids(service)
        with Traffic(service.url, expected) as traffic:
            until(lambda: traffic.answered[VERSION] > 50, "nothing is answered")
    assert traffic.failures == []


@pytest.fixture
def blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that are started now can be blocked with SIGUSR1."""
    monkeypatch.setenv("PYTHONPATH", str(BLOCKING))


def test_a_blocked_process_ends_itself(blocking: None, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, after the stacks of all threads: what started it can start another."""
    with running_service(stall_seconds=2) as service:
        service.process.send_signal(signal.SIGUSR1)
        assert service.process.wait(60) == 1
    assert "sitecustomize.py" in capfd.readouterr().err


def test_a_blocked_worker_is_replaced(blocking: None) -> None:
    """A worker whose event loop stands still ends itself, and another comes."""
    with running_service(workers=2, stall_seconds=2) as service:
        until(lambda: successful_loads(service) == 2, "the workers do not start")
        blocked, _ = worker_pids(service)
        os.kill(blocked, signal.SIGUSR1)
        until(lambda: blocked not in worker_pids(service), "it is still there")
        until(lambda: len(worker_pids(service)) == 2, "it is not replaced")


def test_a_busy_process_is_left_alone(digits: Digits) -> None:
    """An event loop that turns, though late, is not blocked: the shortest time to stall passes, and it serves on."""
    with running_service(stall_seconds=2) as service:
        began = time.monotonic()
        while time.monotonic() - began < 3:
            assert httpx.post(f"{service.url}/predict", content=png(digits.images[0])).status_code == 200
