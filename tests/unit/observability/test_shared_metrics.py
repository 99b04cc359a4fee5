"""Workers' numbers in files: right whoever dies and when, never in need of room, and no slower for the dead."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.multiprocess import MultiProcessCollector

from service.observability import shared_metrics
from service.observability.metrics import Metrics
from service.system.reserved_file import SIZE, ReservedFile
from tests.support.metrics import ask, predictions, samples, settled, successful_loads
from tests.support.processes import needs_root, with_mounts, worker_pids
from tests.support.service import ROOT, running_service, until
from tests.support.sharing import numbers
from tests.support.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.pictures import Digits
    from tests.support.service import Service
    from tests.support.traffic import Expected


def run(what: str, folder: Path) -> str:
    command = [sys.executable, "-m", "tests.support.sharing", what, str(folder)]
    environment = os.environ | {shared_metrics.ENVIRONMENT: str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where three workers have counted, one after the other."""
    folder = tmp_path_factory.mktemp("metrics")
    for _ in range(3):
        run("count", folder)
    return folder


@pytest.fixture
def folder(three: Path, tmp_path: Path) -> Path:
    """One's own copy of it."""
    return Path(shutil.copytree(three, tmp_path / "metrics"))


def parts(folder: Path) -> list[str]:
    """What is in a folder, by the kind of each."""
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def test_the_dead_are_added_up_and_removed(folder: Path) -> None:
    """Counters, histograms and the largest of what is to outlive its worker; who died before another began is in."""
    found = numbers(folder)
    assert found["events_total", (("kind", "7"),)] == 21
    assert found["sizes_bucket", (("le", "2.0"),)] == 6
    assert found["sizes_sum", ()] == 13.5
    assert parts(folder) == ["total", "worker"]
    for _ in range(2):
        shared_metrics.fold(folder)
        assert numbers(folder) == found
        assert parts(folder) == ["total"]
    run("count", folder)
    assert numbers(folder)["events_total", (("kind", "7"),)] == 28
    newest = numbers(folder)["last", ()]
    assert newest >= found["last", ()]


@pytest.mark.parametrize("before", [0, 1])
def test_a_kill_at_any_step_of_adding_up_loses_nothing(folder: Path, before: int) -> None:
    """Wherever it is killed, the numbers are the same before and after the next one has done it again; the first time,
    and where others were added up before."""
    for _ in range(before):
        shared_metrics.fold(folder)
        run("count", folder)
    assert int(run("crash", folder)) > 40


def test_who_lives_is_not_added_up(folder: Path) -> None:
    """A worker's folder is locked while it lives, however long it does nothing."""
    alive = folder / f"{shared_metrics.WORKER}alive"
    alive.mkdir()
    with shared_metrics._locked(alive):
        shared_metrics.fold(folder)
    assert alive.exists()
    shared_metrics.fold(folder)
    assert not alive.exists()


def test_readers_see_the_same_numbers_while_the_dead_are_added_up(three: Path, tmp_path: Path) -> None:
    """Two processes add up what a third reads all the time."""
    folder, dead = tmp_path / "metrics", next(three.glob(f"{shared_metrics.WORKER}*"))
    folder.mkdir()
    for index in range(200):
        shutil.copytree(dead, folder / f"{dead.name}-{index}")
    expected = numbers(folder)
    fold = "from service.observability.shared_metrics import fold; from pathlib import Path; "
    fold += f"fold(Path({str(folder)!r}))"
    with contextlib.ExitStack() as stack:
        folding = [stack.enter_context(subprocess.Popen([sys.executable, "-c", fold], cwd=ROOT)) for _ in range(2)]
        while any(process.poll() is None for process in folding):
            assert numbers(folder) == expected
    assert numbers(folder) == expected
    assert parts(folder) == ["total"]


def seconds(work: Callable[[], object]) -> float:
    """The CPU time of a piece of work, the least of five."""

    def once() -> float:
        began = time.thread_time()
        work()
        return time.thread_time() - began

    return min(once() for _ in range(5))


def test_a_thousand_dead_cost_no_time(three: Path, tmp_path: Path) -> None:
    """Once they are added up, a scrape takes as long as with one worker, and their room is free."""
    folder, dead = tmp_path / "metrics", next(three.glob(f"{shared_metrics.WORKER}*"))
    folder.mkdir()
    shutil.copytree(dead, folder / dead.name)
    fresh, counted = seconds(lambda: shared_metrics.collect(folder)), numbers(folder)
    for index in range(999):
        shutil.copytree(dead, folder / f"{dead.name}-{index}")
    shared_metrics.fold(folder)
    assert seconds(lambda: shared_metrics.collect(folder)) < 3 * fresh
    assert numbers(folder)["events_total", (("kind", "7"),)] == 1000 * counted["events_total", (("kind", "7"),)]
    assert parts(folder) == ["total"]


def test_the_sum_is_that_of_the_library(folder: Path) -> None:
    """As `prometheus_client` adds up the files of workers that all live."""
    flat = folder.with_name("flat")
    flat.mkdir()
    for index, path in enumerate(folder.glob("*/*.db")):
        kind = path.stem.rpartition("_")[0]
        shutil.copy(path, flat / f"{kind}_{index}.db")
    library = MultiProcessCollector(None, path=str(flat)).collect()  # type: ignore[no-untyped-call]
    theirs = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in library
        for sample in metric.samples
        if sample.name != "now"
    }
    assert numbers(folder) == theirs


def test_every_gauge_either_lives_with_its_worker_or_is_added_up() -> None:
    """Other kinds would be lost with their worker."""
    registry = CollectorRegistry()
    Metrics(registry)
    gauges = [one for one in registry._collector_to_names if isinstance(one, Gauge)]
    modes = {gauge._multiprocess_mode for gauge in gauges}
    assert {mode for mode in modes if not mode.startswith("live")} == {"max"}


def test_there_is_room_for_every_page(tmp_path: Path) -> None:
    """Whatever is written, the file's blocks are there before; without room nothing is lost that had a place."""
    file = ReservedFile(str(tmp_path / "counter_1.db"))
    for index in range(1000):
        file.write_value(f"key {index}", float(index), 0.0)  # type: ignore[no-untyped-call]
        if index % 100 == 0:
            found = (tmp_path / "counter_1.db").stat()
            assert found.st_blocks * 512 >= found.st_size > SIZE * (index > 100)
    assert file.read_value("key 999") == (999.0, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]


FULL = """
import errno, os, sys
from pathlib import Path
from prometheus_client.mmap_dict import MmapedDict
from service.system.reserved_file import ReservedFile

def refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

path = sys.argv[1]
if sys.argv[2] == "at first":
    os.posix_fallocate = refuse
file = ReservedFile(path)
file.write_value("old", 1.0, 0.0)
os.posix_fallocate = refuse
for index in range(5000):
    file.write_value(f"new {index}", 2.0, 0.0)
    file.write_value("old", float(index), 0.0)
if Path(path).exists():
    told = {key: value for key, value, _, _ in MmapedDict.read_all_values_from_file(path)}
    assert told.pop("old") == 4999.0
    assert 50 < len(told) < 150 and set(told.values()) == {2.0}
else:
    assert sys.argv[2] == "at first" and not os.listdir(Path(path).parent)
"""


@pytest.mark.parametrize("when", ["at first", "later"])
def test_without_room_it_counts_in_memory(tmp_path: Path, when: str) -> None:
    """What has its place goes on, what is new is counted for nobody, and one line says so."""
    path = tmp_path / "counter_1.db"
    command = [sys.executable, "-c", FULL, str(path), when]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "no room for metrics (ENOSPC): some of this worker's are not exported\n"


def folder_of(pid: int) -> Path | None:
    """Where a worker shares its numbers, if it has begun to."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if (found := link.readlink()).name.startswith(shared_metrics.WORKER):
                return found.parent
    return None


def test_totals_never_go_backwards_while_workers_are_killed(expected: Expected) -> None:
    """Under load, whoever is scraped; and their files do not pile up."""
    kills = 4
    with running_service(workers=2) as service:
        with Traffic(service.url, expected, keeping=2, fresh=1) as traffic:
            last = 0.0
            for _ in range(kills):
                until(lambda: len(worker_pids(service)) == 2, "a worker is not replaced")
                os.kill(worker_pids(service)[0], signal.SIGKILL)
                for _ in range(20):
                    now = predictions(samples(f"{service.url}/metrics"))
                    assert now >= last
                    last = now
            traffic.stop()
        until(lambda: len(worker_pids(service)) == 2, "a worker is not replaced")
        until(lambda: all(map(folder_of, worker_pids(service))), "a worker has not begun")
        samples(f"{service.url}/metrics")
        folder = folder_of(worker_pids(service)[0])
        assert folder is not None
        assert parts(folder) == ["drift", "processes", "total", "worker", "worker"]
        assert predictions(samples(f"{service.url}/metrics")) >= last > 0


def serves(service: Service, digits: Digits) -> None:
    """Pictures and metrics are answered, and no worker dies of it."""
    until(lambda: len(worker_pids(service)) == 2, "there are no two workers")
    workers = worker_pids(service)
    ask(service.url, digits, 20)
    samples(f"{service.url}/metrics")
    assert worker_pids(service) == workers


@needs_root
def test_memory_that_fills_up_later_ends_no_worker(digits: Digits, capfd: pytest.CaptureFixture[str]) -> None:
    """With /dev/shm full the workers go on, what was counted is told, and one that is killed is replaced."""
    mount = "mount -t tmpfs -o size=20m none /dev/shm"
    with running_service(workers=2, under=with_mounts(mount)) as service:
        until(lambda: successful_loads(service) == 2, "the workers do not start")
        ask(service.url, digits, 10)
        settled(service.url, 10)
        memory = Path(f"/proc/{service.process.pid}/root/dev/shm")
        with contextlib.suppress(OSError), (memory / "full").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        serves(service, digits)
        settled(service.url, 30)
        for _ in range(2):
            until(lambda: len(worker_pids(service)) == 2, "there are no two workers")
            killed = worker_pids(service)[0]
            os.kill(killed, signal.SIGKILL)
            until(lambda: killed not in worker_pids(service), "it is not replaced")  # noqa: B023
            serves(service, digits)
        assert predictions(samples(f"{service.url}/metrics")) >= 30
    said = capfd.readouterr().err
    assert "no room for metrics (ENOSPC): some of this worker's are not exported" in said
    assert "exit code -7" not in said  # SIGBUS
