"""The inputs of a batch: what the words of a command line stand for.

In: paths, patterns and URLs. Out: their pictures, in an order that depends on their names alone: that of the words, and
in each folder that of its names. Each name is unique: the word, and the path within it.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError
from . import archives, local, remote, tables
from .entries import DAMAGE, Entry, File, Reading, has_suffix, tidy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILE_URL = "file://"


def expand(words: Sequence[str]) -> list[str]:
    """Return inputs, with local patterns replaced by what matches them.

    Raises `SettingsError` for a path that does not exist, and for one that is given twice or within another.
    """
    found = [path for word in words for path in _paths(word)]
    for (before, one), (after, other) in itertools.pairwise(sorted((_parts(path), path) for path in found)):
        if after[: len(before)] == before:  # sorted, so that what is within a path follows it
            raise SettingsError(f"{other}: its pictures are given twice, as {one} too")
    return found


def _parts(path: str) -> tuple[str, ...]:
    return tuple((os.path.realpath(path) if remote.scheme(path) is None else path.rstrip("/")).split("/"))


def _paths(word: str) -> list[str]:
    """Return the path or URL of a word, or the paths that match it."""
    word = word.removeprefix(FILE_URL)
    if remote.scheme(word) is not None:
        return [word]
    if os.path.lexists(word):
        return [os.path.normpath(word)]
    matching = sorted(set(map(os.path.normpath, _glob(word))))
    if not matching:
        raise SettingsError(f"{word}: there is no such file or folder")
    return matching


def _glob(pattern: str) -> Iterator[str]:
    """Yield the paths that match a pattern. `**` follows no link to a folder: two links in a circle have 2⁴⁰ paths."""
    before, _, after = f"/{pattern}".partition("/**/")
    if not after:
        yield from glob.iglob(pattern)  # noqa: PTH207 - of any root
        return
    waiting = list(glob.iglob(before[1:] or ("/" if pattern.startswith("/") else ".")))  # noqa: PTH207
    while waiting:
        folder = waiting.pop()
        yield from _glob(f"{glob.escape(folder)}/{after}")
        with contextlib.suppress(OSError), os.scandir(folder) as listing:
            waiting += [each.path for each in listing if each.is_dir(follow_symlinks=False) and each.name[0] != "."]


def entries(inputs: Sequence[str], reading: Reading) -> Iterator[Entry]:
    """Yield the pictures of inputs. An entry of an archive is read before the next one is asked for.

    Raises `SettingsError` for a bad URL, and `InputError` for what cannot be read now.
    """
    for each in inputs:
        if remote.scheme(each) is not None:
            for file in remote.files(each, reading.max_bytes):
                yield from _pictures(file, reading, named=file.name == each)
        elif Path(each).is_dir():
            for found in local.walk(each, reading.max_bytes):
                yield from _pictures(found, reading, named=False) if isinstance(found, File) else [found]
        else:
            yield from _pictures(local.file(each, reading.max_bytes), reading, named=True)


def count(inputs: Sequence[str]) -> int | None:
    """Return the number of pictures in inputs; None where only reading them says it, as for tar archives and stores."""
    total = 0
    for each in inputs:
        if remote.scheme(each) is not None:
            return None
        named = not Path(each).is_dir()
        for found in [local.file(each, 0)] if named else local.walk(each, 0):
            pictures = _count(found, named=named) if isinstance(found, File) else 1
            if pictures is None:
                return None
            total += pictures
    return total


def _count(file: File, *, named: bool) -> int | None:
    name = file.name.lower()
    try:
        if name.endswith(archives.TAR + archives.TAR_GZ):
            return None
        if name.endswith(archives.ZIP):
            return archives.count_zipped(file)
        if name.endswith(tables.PARQUET):
            return tables.count_rows(file)
    except (MemoryError, *DAMAGE):
        return 1  # its error
    return int(named or has_suffix(name))


def _pictures(file: File, reading: Reading, *, named: bool) -> Iterator[Entry]:
    """Yield the pictures of a file: itself, or those in it; a file that nobody has named may be none."""
    name = file.name.lower()
    if name.endswith(archives.TAR + archives.TAR_GZ):
        yield from archives.tar(file, reading)
    elif name.endswith(archives.ZIP):
        yield from archives.zipped(file, reading)
    elif name.endswith(tables.PARQUET):
        yield from tables.rows(file, reading)
    elif named or has_suffix(name):
        yield Entry(tidy(file.name), file.read, file.size() if file.remote else 0, file.remote)
    else:
        reading.passed_over += 1
