"""Prepare pictures of any size and origin, with the reader processes of the service, for callers without an event loop.

In: bytes of pictures. Out: for each the prepared picture, or the error that the service would answer. A picture that
kills or stalls its decoder costs its own error alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Self

import numpy as np

from ..codec.body import Numbers
from ..errors import ServiceError
from ..picture import prepare
from ..picture.mnist_format import SIDE
from ..reader.readers import Readers
from ..settings import formats
from ..system.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..arrays import Pixels
    from ..picture.prepare import PreparedImage
    from ..settings import Settings

# Bytes of pictures that a reader gets at once: a larger body would go to a large reader, which costs a process.
BODY_BYTES = 4 * 2**20


class _Uncounted:
    """Counts nothing."""

    def inc(self) -> None:
        """Do nothing."""


class Preparing:
    """A context manager with readers of its own; one thread may use it."""

    def __init__(self, settings: Settings) -> None:
        self._max_pixels, self._formats = settings.max_pixels, formats(settings.formats)
        self._readers = Readers(settings, dict.fromkeys(("time", "lost"), _Uncounted()))
        self._runner = asyncio.Runner()
        self._running = self._readers.running()

    def __enter__(self) -> Self:
        self._runner.run(self._running.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._running.__aexit__(*sys.exc_info()))
        self._runner.close()

    def prepare(self, pictures: Sequence[bytes | Numbers]) -> list[PreparedImage | ServiceError]:
        """Return each picture, prepared or refused, in order."""
        found = [self._prepare_quickly(picture) for picture in pictures]
        slow = [picture for picture, quick in zip(pictures, found, strict=True) if quick is None]
        read = self._read([picture for picture in slow if not isinstance(picture, Numbers)])
        return [next(read) if quick is None else quick for quick in found]

    def _prepare_quickly(self, picture: bytes | Numbers) -> PreparedImage | ServiceError | None:
        """Prepare a picture of 28 x 28 or nearly so here, as the service does; None for others."""
        try:
            if isinstance(picture, Numbers):
                return prepare.pass_through(picture.rows) or prepare.prepare(_grey(picture))
            if prepare.is_quick(picture):
                return prepare.read(picture, max_pixels=self._max_pixels, read=self._formats)
        except ServiceError as error:
            return error
        return None

    def _read(self, pictures: Sequence[bytes]) -> Iterator[PreparedImage | ServiceError]:
        for body in _bodies(pictures):
            yield from self._runner.run(self._read_body(body))

    async def _read_body(self, pictures: Sequence[bytes]) -> Sequence[PreparedImage | ServiceError]:
        with contextlib.closing(Spool(b"".join(pictures))) as body:
            try:
                reading = await self._readers.read(body, "pictures", sizes=[len(each) for each in pictures])
            except ServiceError as error:  # of the body: with one picture, it is the picture's
                if len(pictures) == 1:
                    return [error]
                return [found for each in pictures for found in await self._read_body([each])]
        return reading.items


def _grey(picture: Numbers) -> Pixels:
    return np.frombuffer(picture.rows, np.uint8).reshape(SIDE, SIDE)


def _bodies(pictures: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yield pictures in groups of `BODY_BYTES` at most, or one alone."""
    group: list[bytes] = []
    for picture in pictures:
        if group and sum(map(len, group)) + len(picture) > BODY_BYTES:
            yield group
            group = []
        group.append(picture)
    if group:
        yield group
