"""Who has how many connections: told by each worker, seen by the others, forgotten with its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.process.connection_counts import ConnectionCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    Become = Callable[[int], None]


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Become:
    """Be the process with this id."""
    return lambda pid: monkeypatch.setattr("service.process.connection_counts.getpid", lambda: pid)


def test_a_process_alone_has_nobody_to_share_with() -> None:
    """No place, and no other's count, whatever it tells."""
    counts = ConnectionCounts(1)
    counts.publish(3)
    assert counts.fewest() is None


def test_the_fewest_is_of_the_others_who_have_told(become: Become) -> None:
    """One's own count does not matter, nor one who has not begun; who has gone is forgotten, and so is its count."""
    counts = ConnectionCounts(3)
    counts.assign([1, 2, 3])

    def seen_by_1_when(pid: int, count: int) -> int | None:
        become(pid)
        counts.publish(count)
        become(1)
        return counts.fewest()

    assert seen_by_1_when(1, 0) is None
    assert seen_by_1_when(2, 9) == 9
    assert seen_by_1_when(3, 0) == 0
    counts.assign([1, 2, 4])
    assert counts.fewest() == 9
    assert seen_by_1_when(4, 4) == 4
    counts.assign([1, 4, 5])
    assert counts.fewest() == 4
    become(4)
    counts.withdraw()
    become(1)
    assert counts.fewest() is None
    assert seen_by_1_when(4, 2) == 2
    counts.assign([1])
    assert counts.fewest() is None


def test_who_has_no_place_sees_and_is_not_seen(become: Become) -> None:
    """A worker that is to take another's place is counted when it has it."""
    counts = ConnectionCounts(2)
    counts.assign([1, 2])
    for pid, count in ((1, 5), (2, 6), (3, 0)):
        become(pid)
        counts.publish(count)
    assert counts.fewest() == 5
    counts.assign([3, 2])
    become(2)
    assert counts.fewest() is None
    become(3)
    counts.publish(0)
    become(2)
    assert counts.fewest() == 0
