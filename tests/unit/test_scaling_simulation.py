"""The simulation of pods as queues, where the right answer is known; and its figures of other servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.scaling.__main__ import SERVERS, main
from benchmarks.scaling.costs import Check, Costs
from benchmarks.scaling.simulation import MAX_BATCH, Turn, simulate
from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Turn(0.0, 1.0, (0.0,) * (MAX_BATCH + 1))  # a second for each request, and nothing else
REQUESTS = 20_000


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_pods_are_as_busy_as_they_are_loaded(load: float) -> None:
    """Where a turn itself costs nothing, a pod works for the share of time that is its load, whoever chooses it."""
    for proxies in (0, 1, 4):
        assert simulate(PLAIN, 8, load, proxies=proxies, requests=REQUESTS).busy == pytest.approx(load, rel=0.05)


def test_nothing_waits_where_a_pod_is_always_free() -> None:
    """With the fewest open requests of many pods, a request takes one turn."""
    wait = simulate(PLAIN, 100, 0.2, proxies=1, requests=REQUESTS)
    assert [wait.p50, wait.p99] == pytest.approx([1, 1])


def test_chance_waits_longer_than_the_fewest() -> None:
    """Beside a free pod chance chooses one that works; many proxies that know only their own are in between."""
    chance, many, one = (simulate(PLAIN, 50, 0.7, proxies=proxies, requests=REQUESTS).p99 for proxies in (0, 8, 1))
    assert one < many < chance


COSTS = Costs(
    60e-6, 200e-6, {1: 40e-6, 64: 300e-6}, {"nginx": 40e-6}, {"nginx": 300e-6}, 400, 400, 1000, 90_000, 0.01, 200, 1.0,
    2_000_000, [Check(2_000, 0.2, 1e-3, 2e-3)],
)  # fmt: skip


def test_a_turn_costs_what_was_measured() -> None:
    """A lone request and one of a full batch cost what they were measured at."""
    turn = Turn.of(COSTS)
    assert turn.seconds(1) == pytest.approx(200e-6)
    assert turn.seconds(64) / 64 == pytest.approx(60e-6)
    assert turn.seconds(128) < 2 * turn.seconds(64)
    assert turn.capacity == pytest.approx(1 / 60e-6)


def test_tables_come_from_a_file_of_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The costs survive the file; ten million requests/s need as many pods as the capacity says."""
    COSTS.write(tmp_path / "costs.json")
    assert Costs.read(tmp_path / "costs.json") == COSTS
    assert main(["--costs", str(tmp_path / "costs.json"), "--requests", "2000"]) == 0
    said = capsys.readouterr().out
    assert f"| 10,000,000 | {10_000_000 * 60 / 1e6 / 0.6:,.0f} |" in said
    assert "| this service | 32,564 | 61 |" in said


def test_figures_of_others_are_those_of_the_benchmarks() -> None:
    """Each rate is the one of docs/benchmarks.md."""
    table = (ROOT / "docs" / "benchmarks.md").read_text()
    for name, rate in SERVERS.items():
        (line,) = (line for line in table.splitlines() if line.replace("*", "").startswith(f"| {name} |"))
        assert f"{rate:,}" in line
