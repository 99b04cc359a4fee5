"""Parse JSON and base64 that clients send, within limits of what it costs.

In: bytes or text. Out: values or bytes; `Malformed` or `TooLarge` for JSON, `ValueError` for base64. It does not know
what the values mean.
"""

from __future__ import annotations

import base64
import binascii

import orjson

from ..errors import Malformed, TooLarge

VALUES_PER_IMAGE = 1000  # 784 numbers in 28 rows, and what surrounds them
PIECE = 2**20  # characters of base64 decoded at a time: Python's decoder keeps all other threads waiting
WHITESPACE = b" \t\n\v\f\r\x1c\x1d\x1e\x1f"
# From the URL-safe alphabet to the standard one (RFC 4648 section 5); a text that mixes both stays invalid.
FROM_URL_SAFE = bytes.maketrans(b"-_+/", b"+/--")


def parse_json(text: bytes, max_images: int) -> object:
    """Parse JSON; raises `Malformed`, `MemoryError`, or `TooLarge` as `check_values` does."""
    check_values(text, max_images)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if "Not enough memory" in error.msg:  # a reader has a limit, and says so
            raise MemoryError from None
        raise Malformed(f"The body is not JSON: {error}.") from None


def check_values(text: bytes, max_images: int) -> None:
    """Raise `TooLarge` for more values than `max_images` pictures written as numbers can have.

    A value takes many times as much memory when it is parsed as in the text.
    """
    limit = VALUES_PER_IMAGE * (max_images + 1)
    # A value comes after a comma, or opens a list or an object. Those within strings count too: base64 has none.
    if len(text) > limit and text.count(b",") + text.count(b"[") + text.count(b"{") > limit:
        raise TooLarge(f"The JSON has more than {limit:,} values, which is the limit.", limit=limit)


def decode_base64_lines(text: str) -> bytes:
    """Decode base64 with whitespace in it; raises `ValueError` as `decode_base64` does."""
    if (plain := _decode_plain(text)) is not None:
        return plain
    if not text.isascii():
        raise ValueError("string argument should contain only ASCII characters")
    # str.split would make an object for each word, of which a client may send millions.
    return decode_base64(text.encode().translate(None, WHITESPACE))


def decode_base64(text: str | bytes) -> bytes:
    """Decode base64 of the standard or the URL-safe alphabet, with or without its padding (RFC 4648).

    Raises `ValueError` (often binascii's error) for anything else.
    """
    if (plain := _decode_plain(text)) is not None:
        return plain
    data = text.encode("ascii") if isinstance(text, str) else text
    if b"-" in data or b"_" in data:
        data = data.translate(FROM_URL_SAFE)
    padding = b"" if data.endswith(b"=") else b"=" * (-len(data) % 4)
    last = (len(data) - 1) // PIECE
    pieces = (data[at * PIECE : (at + 1) * PIECE] + (padding if at == last else b"") for at in range(last + 1))
    return b"".join([base64.b64decode(piece, validate=True) for piece in pieces])


def _decode_plain(text: str | bytes) -> bytes | None:
    """Decode a text as most clients send it, in a third of the time; None for any other, and for an invalid one."""
    try:
        return binascii.a2b_base64(text, strict_mode=True) if len(text) <= PIECE else None
    except ValueError:
        return None
