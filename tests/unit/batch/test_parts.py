"""The parts of a batch, and the file that merges them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from service.batch.block import SCHEMA
from service.batch.parts import Parts

if TYPE_CHECKING:
    from pathlib import Path


def fill(parts: Parts, name: str) -> None:
    """Writes three parts of one row."""
    for number in range(3):
        parts.add(pa.Table.from_pylist([{"name": f"{name}{number}", "model": "m/1"}], SCHEMA))


def names(path: Path) -> list[str]:
    found: list[str] = pq.read_table(path).column("name").to_pylist()
    return found


def test_batches_that_merge_into_one_file_do_not_mix(tmp_path: Path) -> None:
    """One merges while another one is half done: the file has the rows of one of them, all the time."""
    target = tmp_path / "all.parquet"
    with Parts(tmp_path / "a", {}, 1) as first, Parts(tmp_path / "b", {}, 1) as second:
        fill(first, "a")
        fill(second, "b")
        pieces = 0

        def between() -> bool:
            nonlocal pieces
            pieces += 1
            if pieces == 2:
                assert second.merge(target, lambda: False)
                assert names(target) == ["b0", "b1", "b2"]
            return False

        assert first.merge(target, between)
    assert names(target) == ["a0", "a1", "a2"]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.parquet"]


def test_a_killed_merge_leaves_one_file_at_most(tmp_path: Path) -> None:
    """The batch that goes on in the folder writes to the file that was left, and renames it."""
    target = tmp_path / "all.parquet"
    left: list[Path] = []
    with Parts(tmp_path / "a", {}, 1) as parts:
        fill(parts, "a")

        def look() -> bool:
            left.extend(tmp_path.glob("all.parquet.*"))
            return False

        parts.merge(target, look)
    left[0].write_bytes(b"half")
    with Parts(tmp_path / "a", {}, 1) as again:
        assert again.merge(target, lambda: False)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["all.parquet"]
