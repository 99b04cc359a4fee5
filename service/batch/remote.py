"""Files of buckets and web servers, by fsspec: `s3://`, `gs://`, `https://` and `http://`, with globs.

In: a URL. Out: its files, in the order of their names. Credentials are those that the library of each store finds by
itself. A store that does not answer ends the batch, which the same command continues.
"""

from __future__ import annotations

import contextlib
import functools
import io
from typing import TYPE_CHECKING, Any, Final

import fsspec

from ..errors import NotAPicture, SettingsError
from .archives import TAR, TAR_GZ
from .entries import Content, File, InputError, bounded, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRAS: Final = {"s3": "s3", "gs": "gs", "https": "https", "http": "https"}  # by scheme
WEB: Final = ("http", "https")  # which have no folders
BLOCK_BYTES: Final = 4 * 2**20  # of an archive, read at once


def scheme(word: str) -> str | None:
    """Return the scheme of a URL; None for a path."""
    before, separator, _ = word.partition("://")
    return before if separator else None


def files(url: str, limit: int) -> Iterator[File]:
    """Yield the files that a URL names: itself, those below it, or those that match it.

    Raises `SettingsError` for a URL without any, or without its library, and `InputError` for one that does not answer.
    """
    with _answering(url):
        store, path = _store(url)
        if scheme(url) in WEB:
            yield _file(store, url, path, _size(store, url, path), limit)
            return
        yield from _listed(store, url, path, limit)


def _listed(store: Any, url: str, path: str, limit: int) -> Iterator[File]:
    start = f"{scheme(url)}://"
    if any(sign in path for sign in "*?["):
        found = store.glob(path, detail=True)
    else:
        found = {about["name"]: about for about in [store.info(path)]}
    if not found:
        raise SettingsError(f"{url}: there is nothing that matches")
    for name, about in sorted(found.items()):
        if about["type"] == "directory":
            yield from _walk(store, start, name, limit)
        else:
            yield _file(store, start + name, name, about["size"], limit)


def _walk(store: Any, start: str, folder: str, limit: int) -> Iterator[File]:
    """Yield the files of a folder and of those in it, as `local.walk`."""
    listing = sorted(
        (about["name"].rstrip("/"), about["type"], about["size"]) for about in store.ls(folder, detail=True)
    )
    for name, kind, size in listing:
        if kind == "directory":
            yield from _walk(store, start, name, limit)
        elif name != folder.rstrip("/"):  # some stores list a marker of the folder
            yield _file(store, start + name, name, size, limit)


def _size(store: Any, url: str, path: str) -> int | None:
    """Return the size of a web server's file, where it says it; raises `InputError`."""
    try:
        return store.info(path).get("size")  # type: ignore[no-any-return]
    except FileNotFoundError:  # also where no server answers
        raise InputError(f"{url}: there is no such file, or its server does not answer") from None


def _store(url: str) -> tuple[Any, str]:
    name = scheme(url) or ""
    if name not in EXTRAS or "::" in url:
        raise SettingsError(
            f"{url}: expected a path, or a URL that begins with {', '.join(f'{each}://' for each in EXTRAS)}"
        )
    options: dict[str, Any] = {} if name in WEB else {"use_listings_cache": False}
    try:
        return fsspec.core.url_to_fs(url, **options)  # type: ignore[no-any-return]
    except ImportError:
        raise SettingsError(
            f"{url}: {name}:// needs the extra `{EXTRAS[name]}`: pip install '.[{EXTRAS[name]}]'"
        ) from None


def _file(store: Any, name: str, path: str, size: int | None, limit: int) -> File:
    opening = functools.partial(_Stream, store, name, path)
    reading = functools.partial(_read, store, name, path, size, limit)
    return File(name, opening, reading, lambda: size or 0, remote=True)


def _read(store: Any, name: str, path: str, size: int | None, limit: int) -> Content:
    if size is not None and size > limit:
        return too_large(size, limit)
    try:
        with _answering(name):
            return bounded(b"" if size == 0 else store.cat_file(path, start=0, end=limit + 1), limit)
    except SettingsError:
        return NotAPicture("The file cannot be read: it is not there any more.", reason="unreadable")


class _Stream(io.RawIOBase):
    """A file of a store, as a stream; a store that does not answer is no damage of the file."""

    def __init__(self, store: Any, name: str, path: str) -> None:
        self._name = name
        with _answering(name):
            # Not every web server sends parts of a file, and a tar archive is read from its start to its end.
            in_one = scheme(name) in WEB and name.lower().endswith(TAR + TAR_GZ)
            self._file = store.open(path, "rb", block_size=0 if in_one else BLOCK_BYTES)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether parts of the file can be read."""
        return bool(self._file.seekable())

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; raises `InputError` or `SettingsError`."""
        with _answering(self._name):
            return bytes(self._file.read(size))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; raises `OSError` or `ValueError` for one before the start."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the place."""
        return int(self._file.tell())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


@contextlib.contextmanager
def _answering(name: str) -> Iterator[None]:
    """Turn what a store's library raises into `SettingsError` for a missing file, and `InputError` for all else."""
    try:
        yield
    except (SettingsError, InputError, GeneratorExit):
        raise
    except FileNotFoundError:
        raise SettingsError(f"{name}: there is no such file") from None
    except Exception as error:
        raise InputError(f"{name}: {str(error)[:300] or type(error).__name__}") from error
