"""Files that are complete or absent: a crash, a full disk or a power cut leaves the old file or the new one.

In: a path and its content. Out: the file, flushed to the disk.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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


def flush(folder: Path) -> None:
    """Flush a folder's entries to the disk, as fsync does for a file's content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
