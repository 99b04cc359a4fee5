"""How many values a JSON text holds, before it is parsed: each becomes an object many times as large as its text.

In: bytes of JSON. Out: nothing, or `TooLarge`. It counts, and does not read.
"""

from __future__ import annotations

from ..errors import TooLarge

FOR_A_PICTURE = 1000  # 784 numbers in 28 rows, and what stands around them


def check(text: bytes, max_images: int) -> None:
    """Raises `TooLarge` for more values than so many pictures, written out as numbers, can have."""
    limit = FOR_A_PICTURE * (max_images + 1)
    # A value comes after a comma, or opens a list or an object. Those within strings count too: no base64 has any.
    if text.count(b",") + text.count(b"[") + text.count(b"{") > limit:
        raise TooLarge(f"The JSON has more than {limit:,} values, which is the limit.", limit=limit)
