"""Entries: pictures of every kind of input, each with a name. Their bytes are read when they are needed.

In: a file of this machine or of a store. Out: its bytes, up to a limit, or the error that becomes its row.
"""

from __future__ import annotations

import errno
import hashlib
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias

from ..errors import Malformed, ServiceError, TooLarge

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

    from ..codec.body import Numbers

Content: TypeAlias = "bytes | Numbers | ServiceError"

# Of the pictures in folders and archives; a file that is named on the command line is read whatever it is called.
SUFFIXES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_NAME = 1000  # characters
# All errors of archive and Parquet readers for damaged bytes, pyarrow's among them, which are OSError and ValueError.
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError,
    OSError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, NotImplementedError, RuntimeError,
    AttributeError, AssertionError, zlib.error,
)  # fmt: skip


OUTAGES = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENOTCONN}  # of a disk or its network


class Entry(NamedTuple):
    """A picture that has not been read yet."""

    name: str
    read: Callable[[], Content]
    size: int = 0  # bytes, of a remote one
    remote: bool = False  # whether reading waits for a network


class File(NamedTuple):
    """A file of this machine or of a store."""

    name: str
    open: Callable[[], IO[bytes] | io.RawIOBase]
    read: Callable[[], Content]
    size: Callable[[], int]  # bytes; 0 where it is not known
    remote: bool = False


class InputError(Exception):
    """An input cannot be read now, for reasons outside of its bytes; the message names it."""


@dataclass
class Reading:
    """How inputs are read, and what was passed over on the way."""

    max_bytes: int  # of a picture
    column: str | None = None  # of Parquet files: the pictures
    name_column: str | None = None  # and their names
    passed_over: int = field(default=0)  # files that are no picture by their name


class Names:
    """Makes the names in one file unique; it keeps 8 bytes, and Python's overhead of some 80, for each."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._seen: set[int] = set()
        self._counts: dict[int, int] = {}  # of names that were there before

    def add(self, name: str) -> str:
        """Return the name below the prefix; from the second time on with #2, #3 …"""
        whole = tidy(f"{self._prefix}/{name}")
        unique, first = whole, _digest(whole)
        key, count = first, self._counts.get(first, 1)
        while key in self._seen:
            count += 1
            unique = f"{whole}#{count}"
            key = _digest(unique)
        self._seen.add(key)
        if count > 1:
            self._counts[first] = count
        return unique


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


def tidy(name: str) -> str:
    """Return a name as text that every program can write: bytes that are no UTF-8 are escaped, and the end is cut."""
    name = name.encode(errors="backslashreplace").decode()
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…{_digest(name):x}"


def has_suffix(name: str) -> bool:
    """Whether a file's name ends as those of pictures do."""
    return name.lower().endswith(SUFFIXES)


def too_large(size: int, limit: int) -> TooLarge:
    """Return the error for a picture of too many bytes."""
    return TooLarge(f"The picture has {size:,} bytes; the limit is {limit:,}.", limit=limit)


def bounded(data: bytes, limit: int) -> bytes | TooLarge:
    """Return bytes that were read up to one more than the limit, or the error for more."""
    if len(data) <= limit:
        return data
    return TooLarge(f"The picture has more than {limit:,} bytes, which is the limit.", limit=limit)


def refused(name: str, error: ServiceError) -> Entry:
    """Return the entry of what has no bytes: its row is this error."""
    return Entry(tidy(name), lambda: error)


def damaged(name: str, what: str, error: BaseException) -> Entry:
    """Return the entry of an input that is damaged from here on."""
    found = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return refused(name, Malformed(f"{what} is damaged: {found}. Pictures behind the damage are not read."))


def until_damage(name: str, what: str, entries: Iterator[Entry]) -> Iterator[Entry]:
    """Yield entries; damage between them becomes the last one."""
    try:
        yield from entries
    except MemoryError:
        yield refused(name, TooLarge(f"{what} takes more memory to read than there is for it."))
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in OUTAGES:
            raise InputError(f"{name}: {error.strerror}") from error
        yield damaged(name, what, error)
