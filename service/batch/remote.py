"""Files of buckets and web servers, by fsspec: `s3://`, `gs://`, `https://` and `http://`, with globs.

In: a URL. Out: its files, in the order of their names. Credentials are those that the library of each store finds by
itself. A store that does not answer ends the batch, which the same command continues.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final

import fsspec

from ..errors import NotAPicture, SettingsError
from .entries import Content, File, InputError, bounded, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

EXTRAS: Final = {"s3": "s3", "gs": "gs", "https": "https", "http": "https"}  # by scheme
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
        if scheme(url) in {"http", "https"}:  # which have no folders
            yield _file(store, url, path, store.info(path).get("size"), limit)
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


def _store(url: str) -> tuple[Any, str]:
    name = scheme(url) or ""
    if name not in EXTRAS or "::" in url:
        raise SettingsError(
            f"{url}: expected a path, or a URL that begins with {', '.join(f'{each}://' for each in EXTRAS)}"
        )
    options: dict[str, Any] = {} if name in {"http", "https"} else {"use_listings_cache": False}
    try:
        return fsspec.core.url_to_fs(url, **options)  # type: ignore[no-any-return]
    except ImportError:
        raise SettingsError(
            f"{url}: {name}:// needs the extra `{EXTRAS[name]}`: pip install '.[{EXTRAS[name]}]'"
        ) from None


def _file(store: Any, name: str, path: str, size: int | None, limit: int) -> File:
    opening = functools.partial(store.open, path, "rb", block_size=BLOCK_BYTES)
    return File(name, opening, functools.partial(_read, store, name, path, size, limit), size or 0, remote=True)


def _read(store: Any, name: str, path: str, size: int | None, limit: int) -> Content:
    if size is not None and size > limit:
        return too_large(size, limit)
    try:
        with _answering(name):
            return bounded(store.cat_file(path, start=0, end=limit + 1) if size else b"", limit)
    except SettingsError:
        return NotAPicture("The file cannot be read: it is not there any more.", reason="unreadable")


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
