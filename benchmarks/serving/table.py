"""All turns of all servers → the one table.

In: the visits of each contestant. Out: Markdown. The numbers are medians over the turns.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.serving.contestants import FORMS
from benchmarks.serving.load import LOADS, Round

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.serving.visit import Visit

HEAD = ["server", "workers", "sent", *(load.title for load in LOADS), "memory", "first answer"]


def head() -> list[str]:
    """The table's first two lines."""
    return [_line(HEAD), "| --- | ---: | --- " + "| ---: " * (len(HEAD) - 3) + "|"]


def rows(title: str, workers: str, visits: Sequence[Visit]) -> list[str]:
    """A line for each form that a server was sent, or for the reason why it was not."""
    lines = []
    for form, sent in FORMS.items():
        reason = next((visit.refused[form] for visit in visits if form in visit.refused), "")
        if reason:
            lines.append(_line([title, workers, sent, _plain(reason), *[""] * (len(HEAD) - 4)]))
        elif any(form == driven for visit in visits for driven, _ in visit.rounds):
            cells = [
                _cell([visit.rounds[form, load] for visit in visits if (form, load) in visit.rounds]) for load in LOADS
            ]
            memory = [visit.memory_mib[form] for visit in visits if form in visit.memory_mib]
            start = statistics.median(visit.start_seconds for visit in visits)
            lines.append(_line([title, workers, sent, *cells, _mib(memory), f"{start:.2f} s"]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(reason: str) -> str:
    """A reason that does not break its row."""
    return " ".join(reason.replace("|", "/").split())[:300]


def _cell(rounds: Sequence[Round]) -> str:
    if not rounds:
        return "-"
    per_second, p50, p99, _ = (statistics.median(column) for column in zip(*rounds, strict=True))
    failed = sum(each.failed for each in rounds)
    if not per_second:
        return f"none answered, {failed:.0f} failed"
    return f"{per_second:,.0f}/s {p50:.2f} {p99:.2f} ms" + (f", {failed:.0f} failed" if failed else "")


def _mib(memory: Sequence[float]) -> str:
    return f"{statistics.median(memory):.0f} MiB" if memory else "-"
