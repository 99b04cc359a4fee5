"""Read small untrusted files: never wait, never read without end, and do not follow links. Flush own ones to the disk.

In: a path, or a name in an open folder, and the largest size. Out: the file's bytes, or one `ModelError`. A link, a
pipe, a device or a folder in the place of the file is refused by its kind. It does not know what the files hold.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def state(path: Path) -> tuple[int, int, int] | None:
    """Return time, inode and size, which change whenever the file does or is replaced; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class Content(NamedTuple):
    """A file's bytes, and when they were written."""

    data: bytes
    written: int  # nanoseconds


def read(path: Path, limit: int, *, name: str, folder: int | None = None, follow: bool = False) -> Content:
    """Read a regular file of at most `limit` bytes; raises `FileNotFoundError` or `ModelError`.

    A relative path starts at `folder`, a descriptor. `follow` allows a link, for a path that a setting names. Errors
    call the file `name`.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # without these, opening a pipe waits for its writer
    try:
        descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW, dir_fd=folder)
        try:
            return _content(descriptor, limit, name)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        found = "a symbolic link" if error.errno == errno.ELOOP and not follow else error.strerror
        raise ModelError(f"{name}: expected a readable file, found {found}") from None


def _content(descriptor: int, limit: int, name: str) -> Content:
    about = os.fstat(descriptor)
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(about.st_mode):
        raise ModelError(f"{name}: expected a regular file, found a pipe or a device")
    if about.st_size > limit:
        raise ModelError(f"{name}: expected at most {limit:,} bytes, found {about.st_size:,}")
    pieces: list[bytes] = []
    while (room := limit + 1 - sum(map(len, pieces))) and (piece := os.read(descriptor, min(room, 2**22))):
        pieces.append(piece)
    if not room:  # the file has grown since it was opened
        raise ModelError(f"{name}: expected at most {limit:,} bytes, found more")
    return Content(b"".join(pieces), about.st_mtime_ns)


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """Open a folder, which must not be a link, while the context is open; raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def flush(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk; raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
