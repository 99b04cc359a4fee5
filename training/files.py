"""Files that are complete or absent: a crash, a full disk or a power cut leaves the old file or the new one.

In: a path and its content. Out: the file, flushed to the disk; the content of small files; locks of folders.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_small(path: Path, limit: int) -> bytes | None:
    """Return a file's content, None without a file; raises `OSError` for a link, a pipe, or more than `limit` bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"more than {limit:,} bytes", str(path))
    return content


def write(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk; raises `OSError` with the file's name."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(path)  # the error of a full disk names no file
        raise


def replace(path: Path, content: bytes) -> None:
    """Write a file beside its place, and rename it there in one step; on `OSError` the old file is untouched."""
    temporary = path.with_name(f".{path.name}.unfinished")
    try:
        write(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    flush(path.parent)


def lock(folder: Path) -> bool:
    """Lock a folder for this process until it ends, however it ends; False where another process has the lock."""
    descriptor = os.open(folder / ".held", os.O_WRONLY | os.O_CREAT, 0o644)  # never closed
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


@contextlib.contextmanager
def locking(folder: Path) -> Iterator[None]:
    """Let no other program publish in a folder, or change its list of held versions, while the context is open.

    The service's commands take the same lock. Where a network file system cannot lock a folder, the job does not wait.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def flush(folder: Path) -> None:
    """Flush a folder's entries to the disk, as fsync does for a file's content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
