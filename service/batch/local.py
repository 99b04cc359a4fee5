"""Files and folders of this machine.

In: a path. Out: its files, those of a folder in the order of their names, folder by folder. It follows no link to a
folder, and waits for no pipe.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import NotAPicture
from .entries import Content, Entry, File, InputError, bounded, refused, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of the file alone: its row says it. Other errors, as of a disk, end the batch, which the same command continues.
OWN_ERRORS = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG}


def file(path: str, limit: int) -> File:
    """Return a file of this machine."""
    return File(path, lambda: _open(path), lambda: _read(path, limit), lambda: Path(path).stat().st_size)


def walk(folder: str, limit: int) -> Iterator[File | Entry]:
    """Yield the files of a folder and of those in it, and an error for each folder that cannot be listed."""
    below = [iter([(folder, True)])]  # of each open folder, what is still to come: names may be nested a thousand deep
    while below:
        for path, is_folder in below[-1]:
            if not is_folder:
                yield file(path, limit)
                continue
            try:
                below.append(_list(path))
            except OSError as error:
                yield refused(path, _unreadable("The folder", path, error))
                continue
            break
        else:
            below.pop()


def _list(folder: str) -> Iterator[tuple[str, bool]]:
    """Return the paths in a folder, in the order of their names, and whether each is a folder; raises `OSError`."""
    with os.scandir(folder) as listing:
        found = sorted((each.name, each.is_dir(follow_symlinks=False)) for each in listing)
    start = folder if folder == "/" else f"{folder}/"
    return ((f"{start}{name}", is_folder) for name, is_folder in found)


def _unreadable(what: str, path: str, error: OSError) -> NotAPicture:
    """Return the error of one file; raises `InputError` for those that are not of this file alone."""
    if error.errno not in OWN_ERRORS:
        raise InputError(f"{path}: {error.strerror or error}") from error
    return NotAPicture(f"{what} cannot be read: {error.strerror}.", reason="unreadable")


def _open(path: str) -> IO[bytes]:
    """Open a regular file; raises `OSError`."""
    return os.fdopen(_descriptor(path)[0], "rb")


def _descriptor(path: str) -> tuple[int, int]:
    """Return the descriptor and the size of a regular file; raises `OSError`."""
    # Without these flags, opening a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise OSError(errno.ENXIO, "it is a folder, a pipe or a device")
    return descriptor, about.st_size


def _read(path: str, limit: int) -> Content:
    try:
        descriptor, size = _descriptor(path)
        try:
            if size > limit:
                return too_large(size, limit)
            pieces = []
            while piece := os.read(descriptor, size + 1):  # a file object would cost half of a small file's time
                pieces.append(piece)
                if sum(map(len, pieces)) > limit:
                    break
            return bounded(b"".join(pieces), limit)
        finally:
            os.close(descriptor)
    except OSError as error:
        return _unreadable("The file", path, error)
