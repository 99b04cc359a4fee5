"""A list of held versions: a file with one number on each line, which training jobs and operators change.

In: the path of the list, and numbers. Out: numbers, or one `ModelError`. It does not know which version serves.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..model.layout import NUMBER
from . import operator_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "HELD"  # in the model's folder, where training jobs write it; and in the folder of the pin file
MAX_BYTES = 2**16  # more numbers than a model's folder may have entries


def read(path: Path, *, follow: bool) -> set[int]:
    """Return the numbers of a list, none without a file; raises `ModelError`. With `follow` it may be a link."""
    words = operator_files.read(path, follow=follow, limit=MAX_BYTES)
    text = "" if words is None else words.text
    if not re.fullmatch(rf"(?:{NUMBER}(?:\s+|\Z))*", text):
        raise ModelError(f"{path.name}: expected versions' numbers, each on a line, found something else")
    return set(map(int, text.split()))


def add(path: Path, number: int) -> None:
    """Add a number, durably; raises `ModelError` or `OSError`."""
    _change(path, lambda held: held | {number})


def remove(path: Path, number: int) -> None:
    """Remove a number; raises `ModelError` or `OSError`."""
    _change(path, lambda held: held - {number})


def _change(path: Path, changed: Callable[[set[int]], set[int]]) -> None:
    with _locking(path.parent):
        before = read(path, follow=False)
        after = changed(before)
        if after and after != before:
            operator_files.write(path, "\n".join(map(str, sorted(after))))
        elif before and not after:
            path.unlink()


@contextlib.contextmanager
def _locking(folder: Path) -> Iterator[None]:
    """Let no other program change the list in a folder while the context is open; raises `OSError`.

    Training jobs take the same lock. Where a network file system cannot lock a folder, the program does not wait.
    """
    with operator_files.opening(folder) as descriptor:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
