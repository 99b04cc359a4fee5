"""Processes that hang, are paused, cannot be started, or have nobody who reads their log: they are ended or go on."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from benchmarks.serving.processes import free_port
from tests.support.http import connect
from tests.support.metrics import samples, successful_loads, value
from tests.support.processes import BLOCKING, command, open_files, processes_of_session, worker_pids
from tests.support.service import MODELS, ROOT, VERSION, Service, running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells processes by /proc")


@pytest.fixture
def blocking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services that are started now can be blocked with SIGUSR1, and with SIGUSR2."""
    monkeypatch.setenv("PYTHONPATH", str(BLOCKING))


def lines(capfd: pytest.CaptureFixture[str], *levels: str) -> list[dict[str, Any]]:
    """The log's lines of these levels, without what is no JSON: the stacks of a process that was killed."""
    found = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    return [line for line in found if line["level"] in levels]


def both(service: Service) -> list[int]:
    """The workers, when both serve."""
    until(lambda: successful_loads(service) == 2, "the workers do not start")
    return worker_pids(service)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGSTOP])
def test_a_worker_that_cannot_end_itself_is_replaced(
    blocking: None, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """It never lets go of the interpreter, or is stopped: its parent kills it, and says so once."""
    with running_service(workers=2, stall_seconds=1) as service:
        stuck, kept = both(service)
        os.kill(stuck, number)
        until(lambda: len(set(worker_pids(service)) - {stuck}) == 2, "it is not replaced")
        assert kept in worker_pids(service)
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200, "nobody answers")
        found = samples(service.metrics)
        assert [value(found, "mnist_worker_restarts_total", {"reason": reason}) for reason in ("signal", "hang")] == [
            0,
            1,
        ]
    told = [line["message"] for line in lines(capfd, "critical", "error")]
    assert told[0] == f"worker {stuck} has sent no heartbeat for 3 s, and is killed"
    assert re.fullmatch(rf"worker {stuck} has ended after \S+ s: SIGKILL; in succession: 1; .*", told[1])
    assert len(told) == 2


def test_a_process_that_never_lets_go_of_the_interpreter_is_killed(
    blocking: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Alone, too; after the stacks of its threads, and it leaves no process."""
    with running_service(stall_seconds=1) as service:
        (watching,) = children(service.process.pid)
        service.process.send_signal(signal.SIGUSR2)
        assert service.process.wait(60) == -signal.SIGKILL
        until(lambda: not command(watching), "a process is left")
    assert "sitecustomize.py" in capfd.readouterr().err


def test_the_process_that_watches_is_started_again(blocking: None) -> None:
    """Who kills it gains nothing."""
    with running_service(stall_seconds=1) as service:
        (watching,) = children(service.process.pid)
        os.kill(watching, signal.SIGKILL)
        until(lambda: children(service.process.pid) not in ([], [watching]), "it is not started again")
        service.process.send_signal(signal.SIGUSR2)
        assert service.process.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pause_is_no_stall(workers: int, capfd: pytest.CaptureFixture[str]) -> None:
    """All processes stand still for longer than they may be blocked, as a paused container does, and go on."""
    with running_service(workers=workers, stall_seconds=2) as service:
        until(lambda: successful_loads(service) == workers, "the workers do not start")
        before = children(service.process.pid)
        os.killpg(service.process.pid, signal.SIGSTOP)
        time.sleep(5)  # 2 s, and the 2 s more that whoever watches gives
        os.killpg(service.process.pid, signal.SIGCONT)
        time.sleep(1)
        assert httpx.get(f"{service.url}/readyz").status_code == 200
        assert set(before) <= set(children(service.process.pid))
    assert lines(capfd, "critical", "error") == []


def test_a_process_that_alone_is_stopped_for_a_while_goes_on() -> None:
    """By SIGSTOP, or in a debugger: nobody takes that for a stall."""
    with running_service(stall_seconds=2) as service:
        service.process.send_signal(signal.SIGSTOP)
        time.sleep(5)
        service.process.send_signal(signal.SIGCONT)
        time.sleep(1)
        assert httpx.get(f"{service.url}/readyz").status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_sigterm_ends_it_in_time_whatever_hangs(blocking: None, workers: int, number: signal.Signals) -> None:
    """A blocked loop, which nothing else would end: in the middle of the drain, and exit code 0 all the same."""
    with running_service(workers=workers, stall_seconds=0, drain_seconds=4, shutdown_seconds=5) as service:
        until(lambda: successful_loads(service) == workers, "the workers do not start")
        stuck = service.process.pid if workers == 1 else worker_pids(service)[0]
        service.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 503, "it is still ready")
        os.kill(stuck, number)
        code = service.process.wait(60)
        # Where no code of ours can run, the system ends it, which has no better code.
        assert code == (-signal.SIGALRM if (workers, number) == (1, signal.SIGUSR2) else 0)
        assert not processes_left(service)


def test_a_stopped_worker_does_not_hold_the_end_up() -> None:
    """SIGTERM waits for it as long as for a request, and no longer."""
    with running_service(workers=2, stall_seconds=0, shutdown_seconds=3) as service:
        stopped, _ = both(service)
        os.kill(stopped, signal.SIGSTOP)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
        assert not processes_left(service)


def processes_left(service: Service) -> list[int]:
    with contextlib.suppress(AssertionError):
        until(lambda: not processes_of_session(service.process.pid), "processes are left")
    return processes_of_session(service.process.pid)


def test_a_drain_longer_than_the_time_to_end_is_refused() -> None:
    """One line with both settings, and exit code 2."""
    command = [sys.executable, "-m", "service", "--port", "0", "--drain-seconds", "26"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr == (
        "service: MNIST_DRAIN_SECONDS: expected at most MNIST_SHUTDOWN_SECONDS, which is 25 and includes the drain "
        "(found 26)\n"
    )


def channels(pid: int) -> set[str]:
    """The pipes and sockets of a process, without stdin, stdout and stderr."""
    standard = {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in range(3)}
    return {name for name in open_files(pid) if name.startswith(("pipe:", "socket:"))} - standard


def test_a_worker_keeps_nothing_of_its_supervisor(capfd: pytest.CaptureFixture[str]) -> None:
    """A fork, it has the port and its own heartbeats, but neither another worker's nor what the supervisor does at its
    end, such as to remove the metrics that all share."""
    with running_service(workers=2) as service:
        first, second = both(service)
        supervisor = channels(service.process.pid)
        assert len(channels(first) & supervisor) == len(channels(second) & supervisor) == 2
        assert len(channels(first) & channels(second)) == 1
        os.kill(first, signal.SIGTERM)
        until(lambda: successful_loads(service) == 3, "it is not replaced")
        assert second in worker_pids(service)
    (told,) = lines(capfd, "error")
    assert ": exit code 0; in succession: 1;" in told["message"]


UNBORN = """\
import os, sys
if sys.orig_argv[1:] == ["-m", "service"]:
    def fail(*_):
        raise OverflowError("a number is too large")
    os.register_at_fork(after_in_child=lambda: setattr(os, "listdir", fail))
"""


def test_a_worker_that_cannot_begin_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it has a log of its own, too; and no worker goes on as a second supervisor."""
    (tmp_path / "sitecustomize.py").write_text(UNBORN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with started([sys.executable, "-m", "service"], workers=2) as process:
        assert process.stderr is not None
        told = list(itertools.takewhile(lambda line: "OverflowError" not in line, process.stderr))
        assert "Traceback (most recent call last):\n" in told
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_it_runs_where_standard_streams_are_closed(closed: str, workers: int) -> None:
    """No socket and no pipe takes their place: it answers, a worker is replaced, and it ends."""
    port = free_port()
    with started(["sh", "-c", f'exec "$0" -m service {closed}', sys.executable], port=port, workers=workers) as process:
        service = Service(f"http://127.0.0.1:{port}", process)
        until(lambda: is_ready(service), "it does not start")
        if workers > 1:
            killed = both(service)[0]
            os.kill(killed, signal.SIGKILL)
            until(lambda: is_ready(service) and successful_loads(service) == 3, "it is not replaced")
        process.terminate()
        assert process.wait(60) == 0


def is_ready(service: Service) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{service.url}/readyz").status_code == 200
    return False


ORPHANS = """\
import os, time
from service.system.orphans import Orphans
from service.system.processes import zombies
for _ in range(20):
    if os.fork() == 0:
        os._exit(0)
orphans = Orphans()
while len(zombies()) < 20:
    time.sleep(0.01)
left = [20]
while left[-1]:
    orphans.reap()
    left.append(len(zombies()))
print(set(left))
"""


def test_many_orphans_are_reaped_at_once() -> None:
    """A second after they were seen first, so that who waits for one finds it."""
    ran = subprocess.run([sys.executable, "-c", ORPHANS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "{0, 20}\n"


def test_a_worker_that_dies_again_and_again_is_told_and_waited_for(capfd: pytest.CaptureFixture[str]) -> None:
    """Each end is one line with its reason and its count, and the pauses grow; the service goes on."""
    with running_service(workers=2) as service:
        _, kept = both(service)
        for _ in range(4):
            until(lambda: len(worker_pids(service)) == 2, "it is not replaced")
            (other,) = set(worker_pids(service)) - {kept}
            os.kill(other, signal.SIGSEGV)
            until(lambda other=other: other not in worker_pids(service), "it does not end")  # type: ignore[misc]
        assert httpx.get(f"{service.url}/readyz").status_code == 200
    told = [line["message"] for line in lines(capfd, "error")]
    assert len(told) == 4
    assert all(": SIGSEGV; in succession: " in message for message in told)
    pauses = [float(message.rpartition(" in ")[2].removesuffix(" s")) for message in told]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0 < pauses[-1]


FAILING = """\
import errno, os, sys
if sys.orig_argv[1:] == ["-m", "service"]:
    real, state = os.fork, [0]
    def fork():
        state[0] += 1
        if 2 < state[0] < 6:
            raise OSError(errno.{error}, os.strerror(errno.{error}))
        return real()
    os.fork = fork
"""


@pytest.mark.parametrize("error", ["EMFILE", "EAGAIN", "ENOMEM"])
def test_a_worker_that_cannot_be_started_is_tried_again(
    error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Three times the system refuses to start one in the place of another; then it is there, and supervised again."""
    (tmp_path / "sitecustomize.py").write_text(FAILING.format(error=error))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with running_service(workers=2) as service:
        first, second = both(service)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(set(worker_pids(service)) - {first}) == 2, "it is not replaced")
        os.kill(second, signal.SIGKILL)
        until(lambda: len(set(worker_pids(service)) - {first, second}) == 2, "nobody supervises any more")
    told = [line["message"] for line in lines(capfd, "error")]
    assert [message.startswith("a worker cannot be started: ") for message in told] == [False, *[True] * 3, False]


@contextlib.contextmanager
def started(command: list[str], **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A service with pipes for stdout and stderr; all its processes are killed at the end."""
    values = {"port": 0, "model_dir": MODELS, "model_version": VERSION} | settings
    environment = os.environ | {f"MNIST_{name.upper()}": str(value) for name, value in values.items()}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def unread(workers: int, **settings: Any) -> Iterator[Service]:
    """A service whose stderr nobody reads, and no more of its stdout than its addresses."""
    with started([sys.executable, "-m", "service"], workers=workers, access_log=1, **settings) as process:
        assert process.stdout is not None
        url = next(line.split()[1] for line in process.stdout if line.startswith("  page "))
        yield Service(url.removesuffix("/"), process)


def dropped(service: Service) -> float:
    return value(samples(f"{service.url}/metrics"), "mnist_log_lines_dropped_total")


@pytest.mark.parametrize("workers", [1, 2])
def test_nobody_has_to_read_the_log(workers: int) -> None:
    """Requests are answered, the lines that are lost are counted, and SIGTERM ends it: all with a full pipe. Who reads
    it again later is told."""
    with unread(workers) as service:
        with connect(service) as connection:
            stream = connection.makefile("rb")
            for _ in range(30):
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
                for _ in range(400):
                    while stream.readline() != b"\r\n":
                        pass
                    assert stream.read(18) == b'{"status":"alive"}'
        until(lambda: dropped(service) > 0, "nothing is dropped")
        assert httpx.get(f"{service.url}/readyz").status_code == 200
        assert service.process.stderr is not None
        told = next(line for line in service.process.stderr if "were dropped" in line)
        assert json.loads(told)["level"] == "warning"
        with connect(service) as connection:  # until it is full again
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
            connection.recv(1000)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0


def test_a_blocked_process_needs_no_stderr_to_end(blocking: None) -> None:
    """Its watchdog says what it can, and ends it with exit code 1 all the same."""
    with unread(1, stall_seconds=1) as service:
        with connect(service) as connection:
            for _ in range(20):
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
                connection.recv(100_000)
        service.process.send_signal(signal.SIGUSR1)
        assert service.process.wait(60) == 1
