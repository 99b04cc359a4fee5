"""Share metrics between workers: each worker writes its own files, and the sum of all files is exported.

In: a folder. Out: in it, one folder of files for each worker, and one for all workers that have ended, with the sum of
their counters and histograms: so neither totals nor the time to read them depend on how many workers have died. It
knows files, and no metric's name.

A worker holds a lock on its folder until it ends, however it ends. The folder `total-N` lists the workers whose numbers
it includes. It appears atomically, and only then are the folders of those workers removed. Readers skip the workers
that it lists, and start again when a newer total appears. So nothing is lost or counted twice, whenever a process is
killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import operator
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from ..system.reserved_file import ENTRY, SLOT, ReservedFile, reserve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

ENVIRONMENT = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client writes its files
WORKER, TOTAL, JOINING, UNFINISHED = "worker-", "total-", ".worker-", ".total-"
INCLUDED = "included"
# How the values of ended workers are merged, by the prefix of their files' names. Other values end with the worker.
MERGE_FUNCTIONS: dict[str, Callable[[float, float], float]] = {
    "counter": operator.add,
    "histogram": operator.add,
    "gauge_max": max,
}

log = logging.getLogger("service")


def join(folder: Path) -> None:
    """Share this process's metrics with all that join the folder; called once, before the first metric is declared."""
    fold(folder)
    own = folder / WORKER
    try:
        own = _own_folder(folder)
    except OSError as error:  # without a folder, its values stay in memory
        log.error("this worker's metrics cannot be shared: %s", error)
    os.environ[ENVIRONMENT] = str(own)
    values.MmapedDict = ReservedFile  # type: ignore[attr-defined, assignment]


def joined() -> Path | None:
    """Return the folder that this process has joined, if any."""
    own = os.environ.get(ENVIRONMENT)
    return Path(own).parent if own else None


def _own_folder(folder: Path) -> Path:
    """Make a folder that is locked before any other process can find it, until this process ends."""
    made = Path(tempfile.mkdtemp(prefix=f"{JOINING}{os.getpid()}-", dir=folder))
    fcntl.flock(os.open(made, os.O_RDONLY), fcntl.LOCK_EX)
    return made.rename(folder / made.name.removeprefix("."))


def replace(folder: Path, name: str, data: bytes) -> None:
    """Replace a file beside the workers' folders, whole; raises `OSError`."""
    written = Path(os.environ.get(ENVIRONMENT, folder)) / name  # in this worker's own, which does not outlive it
    written.write_bytes(data)
    written.replace(folder / name)


def collect(folder: Path) -> list[Metric]:
    """Return the sum of all workers' metrics, those of ended workers included."""
    while True:
        total = _newest(folder)
        try:
            paths = [str(path) for part in _parts(folder, total) for path in part.glob("*.db")]
            metrics: list[Metric] = list(MultiProcessCollector.merge(paths))  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            if total == _newest(folder):
                raise
        else:
            if total == _newest(folder):
                return metrics


def _newest(folder: Path) -> int:
    """Return the number of the newest total, or 0."""
    return max((int(path.name.removeprefix(TOTAL)) for path in folder.glob(f"{TOTAL}*")), default=0)


def _parts(folder: Path, total: int) -> list[Path]:
    """Return the folders whose sum is complete, for this newest total."""
    included = _included(folder, total)
    workers = [path for path in folder.glob(f"{WORKER}*") if path.name not in included]
    return [folder / f"{TOTAL}{total}", *workers]


def _included(folder: Path, total: int) -> set[str]:
    """Return the names of the workers that a total includes."""
    return set((folder / f"{TOTAL}{total}" / INCLUDED).read_text().splitlines()) if total else set()


def fold(folder: Path) -> None:
    """Add the values of ended workers to the total, unless another process does so now, or the disk is full."""
    with contextlib.suppress(OSError), _locked(folder):
        total = _newest(folder)
        _clean(folder, total)
        ended = [path for path in folder.glob(f"{WORKER}*") if _has_ended(path)]
        if ended:
            _add(folder, ended, total)
            _clean(folder, total + 1)


def _add(folder: Path, ended: list[Path], total: int) -> None:
    """Make the next total."""
    made = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder))
    for kind in MERGE_FUNCTIONS:
        parts = [folder / f"{TOTAL}{total}", *ended]
        _write(made / f"{kind}_0.db", _sum(kind, [path for part in parts for path in part.glob(f"{kind}_*.db")]))
    (made / INCLUDED).write_text("\n".join(path.name for path in ended))
    made.rename(folder / f"{TOTAL}{total + 1}")


def _sum(kind: str, paths: list[Path]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for path in paths:
        for key, number, _, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
            numbers[key] = MERGE_FUNCTIONS[kind](numbers[key], number) if key in numbers else number
    return numbers


def _write(path: Path, numbers: dict[str, float]) -> None:
    reserve(path, SLOT + sum(len(key.encode()) + ENTRY for key in numbers))
    file = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    for key, number in numbers.items():
        file.write_value(key, number, 0.0)  # type: ignore[no-untyped-call]
    file.close()  # type: ignore[no-untyped-call]


def _clean(folder: Path, total: int) -> None:
    """Remove the workers that this total includes, older totals and unfinished ones."""
    included = _included(folder, total)
    done = [path for path in folder.glob(f"{WORKER}*") if path.name in included]
    older = [path for path in folder.glob(f"{TOTAL}*") if path.name != f"{TOTAL}{total}"]
    for path in (*done, *older, *folder.glob(f"{UNFINISHED}*")):
        shutil.rmtree(path)


def _has_ended(worker: Path) -> bool:
    try:
        with _locked(worker):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; raises `OSError` where another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
