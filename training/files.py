"""Files that are whole or not there: what a crash, a full disk or a power cut leaves is the old file or the new one.

In: a path and its content. Out: the file, flushed to the disk. It knows nothing of what is in it.
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
        error.filename = str(path)  # a full disk tells of none
        raise


def replace(path: Path, content: bytes) -> None:
    """Write a file beside its place, and put it there in one step; raises `OSError` with the old file untouched."""
    temporary = path.with_name(f".{path.name}.unfinished")
    try:
        write(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    flush(path.parent)


def hold(folder: Path) -> bool:
    """Keep a folder for this process until it ends, however it ends; False where another process has it."""
    descriptor = os.open(folder / ".held", os.O_WRONLY | os.O_CREAT, 0o644)  # never closed
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def flush(folder: Path) -> None:
    """Put a folder's entries on the disk, as fsync does for a file's content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
