"""The benchmark of learning counts the seconds to an accuracy as its table says."""

from __future__ import annotations

from benchmarks.learning import LEVELS, Curve, Result, table


def _result(*points: tuple[float, float]) -> Result:
    return Result(Curve(list(points), 0.98, 101_770), 512.3, 30.0)


def test_an_accuracy_is_reached_at_the_first_point_that_has_it() -> None:
    """Later points count no more, and an accuracy that no point has is never reached."""
    curve = _result((1.0, 0.95), (2.0, 0.975), (3.0, 0.972), (4.0, 0.981)).curve
    assert [curve.seconds_to(accuracy) for accuracy in (0.95, 0.97, 0.975, 0.98)] == [1.0, 2.0, 2.0, 4.0]
    assert curve.seconds_to(0.99) == float("inf")


def test_a_row_is_the_medians_of_a_learners_runs() -> None:
    """An accuracy that most runs never reach is a dash, whatever the others needed."""
    runs = [_result((1.0, 0.97), (5.0, 0.98)), _result((2.0, 0.97)), _result((9.0, 0.97))]
    row = table({"quick": runs}).splitlines()[-1]
    cells = ["2.0 s", *["-"] * (len(LEVELS) - 1), "98.00%", "101,770", "512 MB", "30.0 s"]
    assert row == f"| `python -m training --recipe quick` | {' | '.join(cells)} |"
