"""Decompress bodies of HTTP, and messages of gRPC, within a limit.

In: bytes, and for HTTP their Content-Encoding. Out: the decompressed bytes, or an error. It does not know what the
bytes mean.

gRPC's core hands messages over compressed here, because it would decompress those of all calls at once, and does not
say which ones are. But no uncompressed message of ours begins as gzip does, whose first byte is no field's key, or as
zlib does, whose first byte is the key of a field 15.
"""

from __future__ import annotations

import zlib

from ..errors import Malformed, TooLarge, UnknownMediaType
from ..quoting import quoted

NONE = frozenset({"", "identity"})
GZIP, ZLIB = b"\x1f\x8b\x08", (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_PIECE = 4 * 2**20  # bytes decompressed at a time: zlib holds its output twice while it makes it
_GZIP_OR_ZLIB = 47  # zlib's wbits: the largest window, and either header


def decompress(body: bytes, encoding: str, *, limit: int) -> bytes:
    """Undo a Content-Encoding: gzip, deflate (which is zlib, RFC 9110 section 8.4.1.2), or none.

    Raises `UnknownMediaType` for another encoding, `Malformed` for damaged bytes, and `TooLarge` for more than `limit`
    bytes of output.
    """
    if encoding in NONE:
        return body
    check_encoding(encoding)
    engine = zlib.decompressobj(_GZIP_OR_ZLIB)
    plain = bytearray()
    try:
        while not engine.eof and len(plain) <= limit:
            piece = engine.decompress(body, _PIECE)
            body = engine.unconsumed_tail
            if not piece:
                break
            plain += piece
    except zlib.error as error:
        raise Malformed(f"The body is not {encoding}: {error}.") from None
    if len(plain) > limit:
        raise TooLarge(f"The decompressed body has more than {limit:,} bytes, which is the limit.", limit=limit)
    if not engine.eof:
        raise Malformed(f"The {encoding} body breaks off.")
    return bytes(plain)


def check_encoding(encoding: str) -> None:
    """Raise `UnknownMediaType` for an encoding that is not supported."""
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        found = quoted(encoding)
        raise UnknownMediaType(f"Content-Encoding {found} is not one that is read here; send gzip or deflate.")


def decompress_message(data: bytes, limit: int) -> bytes:
    """Decompress a message of gRPC, if it is compressed; raises `Malformed`, or `TooLarge` over the limit."""
    if not data.startswith((GZIP, *ZLIB)):
        return data
    try:
        return decompress(data, "gzip", limit=limit)
    except TooLarge:
        raise TooLarge(f"Decompressed message larger than max ({limit:,} bytes).", limit=limit) from None


def decompress_head(data: bytes, size: int) -> tuple[bytes, bool]:
    """Return a message of gRPC as it was before compression, or its first `size` bytes; and whether these are all.

    A message that is not compressed is returned as it is. Raises `Malformed`.
    """
    if not data.startswith((GZIP, *ZLIB)):
        return data, True
    engine = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        head = engine.decompress(data, size)
    except zlib.error as error:
        raise Malformed(f"the message is not as it was compressed: {error}.") from None
    return head, engine.eof
