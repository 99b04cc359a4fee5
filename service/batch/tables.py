"""Pictures in a Parquet file: a column of their bytes, or of 784 pixels each, and perhaps one of names.

In: a file, perhaps hostile, and the columns' names where they are not obvious. Out: an entry for each row. A row
without a picture is an error. Rows are read some at a time.

A column that holds structs of `bytes` and `path`, as the `datasets` library writes pictures, is one of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ..codec.body import Numbers
from ..errors import Malformed, NotAPicture
from ..picture import formats
from .entries import Content, Entry, File, Names, Reading, bounded, refused, until_damage

if TYPE_CHECKING:
    from collections.abc import Iterator

PARQUET: Final = (".parquet",)
PIXELS: Final = 784
USUAL_NAMES: Final = ("image", "picture", "bytes", "image_bytes", "png", "pixels")  # of the column of pictures
NAME: Final = "name"
BATCH_BYTES, MAX_ROWS = 8 * 2**20, 512  # read at once, by the file's own figures


def rows(file: File, reading: Reading) -> Iterator[Entry]:
    """Yield the pictures of a Parquet file."""
    return until_damage(file.name, "The Parquet file", _rows(file, reading))


def _rows(file: File, reading: Reading) -> Iterator[Entry]:
    names = Names(file.name)
    with file.open() as raw, pq.ParquetFile(raw, page_checksum_verification=True) as table:
        schema = table.schema_arrow
        column = reading.column or _column(schema)
        if column is None or column not in schema.names:
            yield refused(file.name, _no_column(schema, reading.column))
            return
        name_column = reading.name_column or NAME
        if reading.name_column is not None and reading.name_column not in schema.names:
            yield refused(file.name, Malformed(f"The Parquet file has no column {reading.name_column}."))
            return
        columns = list(dict.fromkeys([column, *([name_column] if name_column in schema.names else [])]))
        number = 0
        for batch in table.iter_batches(_batch_rows(table), columns=columns, use_threads=False):
            pictures = batch.column(column)
            labels = batch.column(name_column) if name_column in columns else None
            for at in range(len(batch)):
                value = pictures[at].as_py()
                label = None if labels is None else labels[at].as_py()
                if isinstance(value, dict):
                    label = label or value.get("path")
                    value = value.get("bytes")
                yield Entry(names.add(str(number if label is None else label)), _Cell(value, reading.max_bytes))
                number += 1


def count_rows(file: File) -> int:
    """Return the number of rows of a Parquet file; raises an error of `DAMAGE`."""
    with file.open() as raw:
        return int(pq.read_metadata(raw).num_rows)


def _batch_rows(table: pq.ParquetFile) -> int:
    """Return how many rows are read at once."""
    about = table.metadata
    size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
    return max(1, min(MAX_ROWS, int(BATCH_BYTES * about.num_rows / max(1, size))))


def _column(schema: pa.Schema) -> str | None:
    """Return the column of pictures: the only one that can be, or the one with the most usual name."""
    possible = [field.name for field in schema if _is_pictures(field.type)]
    usual = [name for name in USUAL_NAMES if name in possible]
    return possible[0] if len(possible) == 1 else next(iter(usual), None)


def _is_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_integer(kind.value_type))
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(is_kind(kind) for is_kind in kinds)


def _no_column(schema: pa.Schema, wanted: str | None) -> Malformed:
    names = ", ".join(schema.names)[:200]
    missing = "no column, or several, that may hold pictures" if wanted is None else f"no column {wanted}"
    return Malformed(f"The Parquet file has {missing}; --column names one of: {names}.")


class _Cell:
    """The picture in a cell."""

    def __init__(self, value: Any, limit: int) -> None:
        self._value, self._limit = value, limit

    def __call__(self) -> Content:
        """Return its bytes or pixels, or the error of this row."""
        value = self._value
        if isinstance(value, list):
            return _pixels(value)
        if not isinstance(value, bytes):
            return NotAPicture("The row has no picture.")
        if len(value) == PIXELS and not formats.is_picture(value):
            return Numbers(value)
        return bounded(value, self._limit)


def _pixels(values: list[Any]) -> Content:
    if len(values) != PIXELS:
        return Malformed(f"Expected {PIXELS} numbers; found a list of {len(values)}.")
    try:
        return Numbers(bytes(values))
    except (TypeError, ValueError):
        return Malformed(f"Expected {PIXELS} whole numbers from 0 to 255; found others among them.")
