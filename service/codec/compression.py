"""A body without its Content-Encoding.

In: bytes, and the name of their encoding. Out: the bytes unpacked, or why not. It knows how much may come out, and not
what it is.
"""

from __future__ import annotations

import zlib

from ..errors import Malformed, TooLarge, UnknownMediaType
from ..quoting import quoted

_PIECE = 4 * 2**20  # bytes unpacked at a time: zlib holds what it makes twice while it makes it
_GZIP_OR_ZLIB = 47  # zlib's window bits: the larger window, and either header
NONE = frozenset({"", "identity"})


def decompress(body: bytes, encoding: str, *, limit: int) -> bytes:
    """The body without its Content-Encoding, gzip or deflate (which is zlib, RFC 9110 section 8.4.1.2), or none.

    Raises `UnknownMediaType` for another encoding, `Malformed` for damaged bytes, `TooLarge` when they grow over
    `limit`.
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
    """Raise `UnknownMediaType` for an encoding that is not unpacked here."""
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        found = quoted(encoding)
        raise UnknownMediaType(f"Content-Encoding {found} is not one that is read here; send gzip or deflate.")
