"""Small files that others may have put there, read without waiting for anybody and without end.

In: a name, below an open folder or as a path, and how large it may be. Out: its bytes, or one `ModelError`. A link, a
pipe, a device or a folder in the place of a file is refused by what it is, never by what is in it. It does not know
what the files hold.
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
    """What changes whenever a file does, or another one takes its place: time, inode and size; None without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class Content(NamedTuple):
    """What a file held when it was read."""

    data: bytes
    written: int  # nanoseconds


def read(path: Path, limit: int, *, name: str, folder: int | None = None, follow: bool = False) -> Content:
    """Read a regular file of at most `limit` bytes; raises `FileNotFoundError` or `ModelError`.

    `folder` is the descriptor that a relative path starts at. `follow` is for a path that a setting names, which may
    be a link. Errors call the file by its `name`.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # opening a pipe would else wait for its writer
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
    if not room:  # it has grown since it was opened
        raise ModelError(f"{name}: expected at most {limit:,} bytes, found more")
    return Content(b"".join(pieces), about.st_mtime_ns)


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """The descriptor of a folder that is no link, while the context is open; raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
