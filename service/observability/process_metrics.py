"""The metrics of the service's processes: memory, CPU time and descriptors of each, and workers that were replaced.

In: the workers' process ids and how many were replaced, which the supervisor shares; and what the system counts. Out:
samples, made at each scrape, so that no request pays for them. It knows processes by their names, and none of their
work.

CPU time never decreases: the last time of a process that has ended is kept. Any worker answers a scrape, so several
workers keep these times in a file beside their metrics. A fork server's time includes its readers', so that readers
that live shorter than the time between two scrapes count too.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

import orjson
from prometheus_client.samples import Sample

from ..system import processes
from . import shared_metrics
from .labels import LARGE_READER_NAME, READER_NAME, RESTART_REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ..system.processes import Process
    from .declarations import Declarations

    Values = list[tuple[dict[str, str], float]]  # labels, and the value

LABELS = ("process", "worker")
SUPERVISOR, WORKER, READER, LARGE_READER = "supervisor", "worker", "reader", "large_reader"
FILE = "processes"


class Workers(NamedTuple):
    """The workers of the service, as their supervisor shares them."""

    pids: Callable[[], Sequence[int]]  # by the worker's number; 0 where there is none for a while
    restarts: Callable[[], Mapping[str, int]]  # by reason


ALONE = Workers(lambda: [os.getpid()], lambda: dict.fromkeys(RESTART_REASONS, 0))


class Labels(NamedTuple):
    """The labels of a process: its kind, and the number of its worker; "" for the supervisor."""

    process: str
    worker: str


class Found(NamedTuple):
    """A process of the service, and its CPU time; None for a reader, whose time is in its fork server's."""

    labels: Labels
    process: Process
    seconds: float | None


class Seconds(NamedTuple):
    """CPU time at a scrape."""

    living: dict[str, tuple[Labels, float]]  # by what names a process for good
    ended: list[tuple[Labels, float]]  # of processes that had ended, once for each of the labels


class ProcessMetrics:
    """The processes of one service, as one of its workers sees them."""

    def __init__(self, declare: Declarations, workers: Workers) -> None:
        self._workers = workers
        self._seconds = Seconds({}, [])  # of a worker that is alone
        # Values are computed at each scrape. A first child makes a metric known to a scrape of several workers.
        declare.plain_gauge(
            "process_resident_memory_bytes",
            "Resident memory of the service's processes. Memory that several share counts in each.",
            *LABELS,
            over_workers="livemax",
        ).labels(SUPERVISOR, "")
        declare.plain_counter("process_cpu_seconds_total", "CPU time of the service's processes.", *LABELS).labels(
            SUPERVISOR, ""
        )
        declare.plain_gauge(
            "process_open_fds", "Open descriptors of the service's processes.", *LABELS, over_workers="livemax"
        ).labels(SUPERVISOR, "")
        declare.plain_gauge("workers", "Worker processes that live.", over_workers="livemax")
        declare.counters(
            "worker_restarts_total",
            "Workers that ended unasked and were replaced.",
            "reason",
            RESTART_REASONS,
        )

    def measure(self, folder: Path | None) -> dict[str, list[Sample]]:
        """Return the samples of each metric by its name; several workers share `folder`."""
        pids = self._workers.pids()
        found = list(_find(pids, with_supervisor=folder is not None))
        seconds = self._advance(found, folder)
        numbers = [str(number) for number in range(len(pids))]
        timed = [Labels(kind, number) for kind in (WORKER, READER) for number in numbers]
        known = [*timed, *(Labels(LARGE_READER, number) for number in numbers)]
        restarts = self._workers.restarts().items()
        values: dict[str, Values] = {
            "process_resident_memory_bytes": _sum(known, ((one.labels, one.process.resident_bytes) for one in found)),
            "process_cpu_seconds_total": _sum(timed, (*seconds.ended, *seconds.living.values())),
            "process_open_fds": _sum(known, ((one.labels, one.process.open_fds) for one in found)),
            "workers": [({}, sum(one.labels.process == WORKER for one in found))],
            "worker_restarts_total": [({"reason": reason}, count) for reason, count in restarts],
        }
        return {
            f"mnist_{name.removesuffix('_total')}": [Sample(f"mnist_{name}", *value) for value in of_metric]
            for name, of_metric in values.items()
        }

    def _advance(self, found: Iterable[Found], folder: Path | None) -> Seconds:
        """Return the CPU times of now, and keep them for the next scrape."""
        if folder is None:
            self._seconds = advance(self._seconds, found)
            return self._seconds
        seconds = advance(_read(folder), found)
        _write(folder, seconds)
        return seconds


def advance(before: Seconds, found: Iterable[Found]) -> Seconds:
    """Return the CPU times of now, after those of the last scrape."""
    living = {_identity(one.process): (one.labels, one.seconds) for one in found if one.seconds is not None}
    ended = dict(before.ended)
    for identity, (labels, seconds) in before.living.items():
        if identity not in living:
            ended[labels] = ended.get(labels, 0.0) + seconds
        else:  # a reader may have ended between two reads of /proc, and be missing from both
            living[identity] = (labels, max(seconds, living[identity][1]))
    return Seconds(living, list(ended.items()))


def _find(pids: Sequence[int], *, with_supervisor: bool) -> Iterator[Found]:
    if with_supervisor and (supervisor := processes.read(os.getppid())) is not None:
        yield Found(Labels(SUPERVISOR, ""), supervisor, supervisor.seconds)
    for number, pid in enumerate(pids):
        if pid and (worker := processes.read(pid)) is not None:
            yield Found(Labels(WORKER, str(number)), worker, worker.seconds)
            for child in processes.children(pid):
                if child.name == READER_NAME:
                    yield from _find_readers(child, str(number))


def _find_readers(fork_server: Process, number: str) -> Iterator[Found]:
    readers = processes.children(fork_server.pid)
    seconds = fork_server.seconds + fork_server.seconds_of_children + sum(reader.seconds for reader in readers)
    yield Found(Labels(READER, number), fork_server, seconds)
    for reader in readers:
        yield Found(Labels(LARGE_READER if reader.name == LARGE_READER_NAME else READER, number), reader, None)


def _sum(known: Iterable[Labels], values: Iterable[tuple[Labels, float]]) -> Values:
    """Return the sum of the values of each of the labels; 0 for known ones without any."""
    sums = dict.fromkeys(known, 0.0)
    for labels, value in values:
        sums[labels] = sums.get(labels, 0.0) + value
    return [(labels._asdict(), value) for labels, value in sums.items()]


def _identity(process: Process) -> str:
    return f"{process.pid} {process.started}"


def _read(folder: Path) -> Seconds:
    try:
        living, ended = orjson.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return Seconds({}, [])
    return Seconds(
        {identity: (Labels(*labels), seconds) for identity, (labels, seconds) in living.items()},
        [(Labels(*labels), seconds) for labels, seconds in ended],
    )


def _write(folder: Path, seconds: Seconds) -> None:
    """Replace the file, unless the disk is full."""
    with contextlib.suppress(OSError):
        shared_metrics.replace(folder, FILE, orjson.dumps(seconds, default=tuple))
