"""Base64 → bytes, a piece at a time: no other thread does anything while Python decodes one.

In: text. Out: its bytes, or binascii's error. It knows no pictures.
"""

from __future__ import annotations

import base64

PIECE = 2**20  # characters, of which four are three bytes
SPACE = b" \t\n\v\f\r\x1c\x1d\x1e\x1f"


def decoded_lines(text: str) -> bytes:
    """The bytes of a base64 text in lines; raises `ValueError` as `decoded` does."""
    if not text.isascii():
        raise ValueError("string argument should contain only ASCII characters")
    # str.split would make an object of each word, and somebody may send millions of them.
    return decoded(text.encode().translate(None, SPACE))


def decoded(text: str | bytes) -> bytes:
    """The bytes that a base64 text stands for; raises `ValueError`, as binascii's errors are, where it is none."""
    return b"".join([base64.b64decode(text[at : at + PIECE], validate=True) for at in range(0, len(text), PIECE)])
