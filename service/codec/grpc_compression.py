"""Messages that come compressed → as they were.

In: a message's bytes, as gRPC's core hands them over where it is told not to unpack: it would do so for all calls at
once. Out: the bytes, no more than there may be, or the first of them. Core does not say which message is compressed;
but none of ours begins as gzip does, whose first byte is no field's, or as zlib does, with a field 15.
"""

from __future__ import annotations

import zlib

from ..errors import Malformed, TooLarge
from .compression import decompress

GZIP, ZLIB = b"\x1f\x8b\x08", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
EITHER = 47  # wbits: zlib tells both headers apart


def is_packed(data: bytes) -> bool:
    """Whether a message came compressed."""
    return data.startswith((GZIP, *ZLIB))


def head(data: bytes, size: int) -> tuple[bytes, bool]:
    """The first bytes of what it was, so many at most, and whether they are all of them; raises `Malformed`."""
    engine = zlib.decompressobj(EITHER)
    try:
        found = engine.decompress(data, size)
    except zlib.error as error:
        raise Malformed(f"the message is not as it was compressed: {error}.") from None
    return found, engine.eof


def unpack(data: bytes, limit: int) -> bytes:
    """What it was, compressed or not; raises `Malformed`, and `TooLarge` over the limit."""
    if not is_packed(data):
        return data
    try:
        return decompress(data, "gzip", limit=limit)
    except TooLarge:
        raise TooLarge(f"Decompressed message larger than max ({limit:,} bytes).", limit=limit) from None
