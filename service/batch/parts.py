"""The output of a batch: a folder of Parquet parts, of which each appears by one rename, and one file that merges them.

In: tables of rows, in the order of the inputs. Out: `part-000000.parquet`, and so on. The parts of a folder are always
the first rows of the batch without a gap, so that their number says where it goes on. Each part says in its metadata
what made it; another model or other settings do not continue a folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import time
from typing import TYPE_CHECKING, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import SettingsError
from ..system import files
from .block import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

PATTERN: Final = "part-*.parquet"
UNFINISHED: Final = ".unfinished"
PART_SECONDS: Final = 60.0  # after which rows become a part, however few they are
COMPRESSION: Final = "zstd"


class Parts:
    """The parts of one folder; a context manager that lets no other batch write there."""

    def __init__(self, folder: Path, facts: Mapping[str, str], part_rows: int) -> None:
        """`facts` say what makes the rows: they become the metadata of each part."""
        self.folder = folder
        self.rows = 0  # in the parts
        self.paths: list[Path] = []
        self._facts, self._part_rows = facts, part_rows
        self._waiting: list[pa.Table] = []
        self._since = 0.0  # when the first of them came, monotonic
        self._lock = -1

    def __enter__(self) -> Self:
        """Lock the folder, which is made where there is none, and check its parts.

        Raises `SettingsError` for parts that something else has made, and `OSError`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _lock(self._lock, self.folder)
            for path in self.folder.glob(f"*{UNFINISHED}"):
                path.unlink()
            self.paths = sorted(self.folder.glob(PATTERN))
            for number, path in enumerate(self.paths):
                if path.name != _name(number):
                    raise SettingsError(f"{path}: expected {_name(number)} before it, found none")
                self.rows += self._check(path)
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def add(self, rows: pa.Table) -> None:
        """Add rows behind all others; they become a part when they are enough, or have waited for long."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= self._part_rows or time.monotonic() > self._since + PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait; raises `OSError`, and leaves no part then."""
        if not self._waiting:
            return
        path = self.folder / _name(len(self.paths))
        with _appearing(path) as unfinished:
            table = pa.concat_tables(self._waiting).combine_chunks()
            pq.write_table(self._described(table), unfinished, compression=COMPRESSION)
        self.paths.append(path)
        self.rows += len(table)
        self._waiting.clear()

    def merge(self, target: Path, stopped: Callable[[], bool]) -> bool:
        """Write all parts to one file, in order, which appears by one rename; False where it was stopped.

        Batches that write to one target each finish a file of their own; the last one stays.
        """
        with _appearing(target, f".{self._identity()}") as unfinished:
            with pq.ParquetWriter(unfinished, self._schema(), compression=COMPRESSION) as writer:
                for table in read_tables(self.paths):
                    if stopped():
                        break
                    writer.write_table(table.replace_schema_metadata(self._schema().metadata))
            if stopped():
                unfinished.unlink()
                return False
        return True

    def _identity(self) -> str:
        """Return a word for this folder, in which nobody else writes; the batch that goes on here has the same one."""
        folder = os.fstat(self._lock)
        return hashlib.sha256(f"{socket.gethostname()} {folder.st_dev} {folder.st_ino}".encode()).hexdigest()[:16]

    def _schema(self) -> pa.Schema:
        return SCHEMA.with_metadata(dict(self._facts))

    def _described(self, table: pa.Table) -> pa.Table:
        return table.replace_schema_metadata(dict(self._facts))

    def _check(self, path: Path) -> int:
        """Return a part's number of rows; raises `SettingsError` unless the same model and settings have made it."""
        try:
            with pq.ParquetFile(path) as part:
                schema, rows = part.schema_arrow, part.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise SettingsError(
                f"{path}: expected a part of a batch, found {str(error).splitlines()[0][:200]}"
            ) from None
        found = {key.decode(): value.decode(errors="replace") for key, value in (schema.metadata or {}).items()}
        for key, ours in self._facts.items():
            theirs = found.get(key, "none")
            if theirs != ours:
                raise SettingsError(
                    f"{path}: made with {key.replace('_', ' ')} {theirs[:200]}, and this batch has {ours}; "
                    "choose another folder for --out"
                )
        if not schema.equals(SCHEMA, check_metadata=False):
            raise SettingsError(
                f"{path}: expected the columns of a part, found others; choose another folder for --out"
            )
        return int(rows)


def read_tables(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield the rows of parts, some at a time, in order."""
    for path in paths:
        with pq.ParquetFile(path) as part:
            for group in range(part.num_row_groups):
                yield part.read_row_group(group, columns=columns)


def write_file(path: Path, data: bytes) -> None:
    """Write a file, which appears by one rename."""
    with _appearing(path) as unfinished:
        unfinished.write_bytes(data)


def read_names(path: Path) -> Iterator[str]:
    """Yield the names in a part, in order."""
    for table in read_tables([path], ["name"]):
        yield from table.column("name").to_pylist()


def _name(number: int) -> str:
    return f"part-{number:06d}.parquet"


@contextlib.contextmanager
def _appearing(path: Path, owner: str = "") -> Iterator[Path]:
    """Yield the path to write to: the file appears as `path` when it is whole and on the disk, or not at all.

    Without an `owner`, nobody else may write to `path`.
    """
    unfinished = path.with_name(f"{path.name}{owner}{UNFINISHED}")
    try:
        yield unfinished
        if unfinished.exists():
            files.flush(unfinished)
            unfinished.rename(path)
            files.flush(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _lock(descriptor: int, folder: Path) -> None:
    """Lock a folder, unless its file system cannot; raises `OSError` where another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            raise OSError(f"{folder}: another batch is writing there") from None
