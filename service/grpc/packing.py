"""Messages that come compressed → as they were.

In: a message's bytes, as gRPC's core hands them over where it is told not to unpack: it would do so for all calls at
once. Out: the bytes, no more than there may be. Core does not say which message is compressed; but none of ours begins
as gzip does, whose first byte is no field's, or as zlib does, with a field 15.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from typing import TYPE_CHECKING

from service.decoder import INLINE_BODY
from service.errors import TooLarge

if TYPE_CHECKING:
    from service.grpc.holding import Held

GZIP, ZLIB = b"\x1f\x8b\x08", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
EITHER = 47  # wbits: zlib tells both headers apart


class Unpacker:
    """Of one worker: what is large is unpacked in a thread, one message at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._turn = asyncio.Lock()

    async def plain(self, message: Held) -> bytes:
        """A message's bytes as they were before it was compressed, if it was; raises `TooLarge` and `Overloaded`."""
        if not message.data.startswith((GZIP, *ZLIB)):
            return message.data
        if len(message.data) <= INLINE_BODY:
            with contextlib.suppress(TooLarge):
                return unpack(message.data, INLINE_BODY)
        async with self._turn:
            found = await asyncio.to_thread(unpack, message.data, self._limit)
            message.grow(len(found))
            return found


def unpack(data: bytes, limit: int) -> bytes:
    """What it was; the same bytes where it was not compressed. Raises `TooLarge`."""
    unpacker = zlib.decompressobj(EITHER)
    try:
        found = unpacker.decompress(data, limit + 1)
    except zlib.error:
        return data
    if len(found) > limit:
        raise TooLarge(f"Decompressed message larger than max ({limit:,} bytes).", limit=limit)
    return found if unpacker.eof and not unpacker.unused_data else data
