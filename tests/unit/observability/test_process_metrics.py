"""The CPU time of processes: it never decreases, whichever of them end between two scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.observability.process_metrics import READER, WORKER, Found, Labels, Seconds, advance
from service.system.processes import Process

if TYPE_CHECKING:
    from collections.abc import Iterable

NONE = Seconds({}, [])
FIRST = Labels(WORKER, "0")


def found(pid: int, seconds: float | None, labels: Labels = FIRST, started: int = 7) -> Found:
    return Found(labels, Process(pid, "python", started, 0, 0, 0, 0), seconds)


def total(seconds: Seconds, labels: Labels = FIRST) -> float:
    values: Iterable[tuple[Labels, float]] = [*seconds.living.values(), *seconds.ended]
    return sum(value for name, value in values if name == labels)


def test_a_worker_that_ends_leaves_its_time_to_its_successor() -> None:
    """The sum is of all that ever ran, also where the system gives the process id again."""
    seconds = advance(NONE, [found(10, 5.0), found(11, 2.0, Labels(WORKER, "1"))])
    seconds = advance(seconds, [found(12, 0.5), found(11, 3.0, Labels(WORKER, "1"))])
    assert (total(seconds), total(seconds, Labels(WORKER, "1"))) == (5.5, 3.0)
    seconds = advance(seconds, [found(12, 0.25, started=8)])
    assert (total(seconds), total(seconds, Labels(WORKER, "1"))) == (5.75, 3.0)
    assert len(seconds.living) == 1


def test_a_moment_without_a_process_takes_nothing_away() -> None:
    """A scrape in which no worker lives, and one that comes a little late with older numbers, keep the sum."""
    seconds = advance(NONE, [found(10, 5.0)])
    assert total(advance(seconds, [])) == 5.0
    assert total(advance(seconds, [found(10, 4.9)])) == 5.0


def test_the_time_of_readers_is_in_their_fork_server() -> None:
    """A reader itself has none, so that nothing counts twice when it ends."""
    reader = Labels(READER, "0")
    seconds = advance(NONE, [found(10, 5.0, reader), found(11, None, reader)])
    assert total(advance(seconds, [found(10, 6.0, reader)]), reader) == 6.0
