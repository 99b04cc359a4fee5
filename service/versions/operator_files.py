"""Small files of a few words that operators write: read as untrusted files, and written whole and durably.

In: paths, and words. Out: words, or one `ModelError` that names the file. It does not know what the words mean.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError
from ..system import files

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 80  # of a file that names one version


class Words(NamedTuple):
    """The words of a file, and when they were written, in nanoseconds."""

    text: str
    written: int


def read(path: Path, *, follow: bool, limit: int = MAX_BYTES) -> Words | None:
    """Return the words of a file, None without such a file; raises `ModelError`. With `follow` it may be a link."""
    try:
        data, written = files.read(path, limit, name=path.name, follow=follow)
        return Words(data.decode().strip(), written)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.name}: expected a readable file, found {type(error).__name__}") from None


def write(path: Path, words: str) -> None:
    """Write a file in one step, flushed to the disk; raises `OSError`, and then leaves nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{words}\n")
            file.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except OSError:  # a full disk, or a folder in the file's place
        Path(temporary).unlink(missing_ok=True)
        raise
    files.flush(path.parent)


@contextlib.contextmanager
def opening(folder: Path) -> Iterator[int]:
    """Open a folder, which a setting may name by a link, while the context is open; raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
