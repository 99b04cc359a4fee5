"""How many parts a PNG or a JPEG is made of: a decoder walks them one by one, whatever they hold.

In: the bytes of a file. Out: nothing, or `TooLarge` for more parts than any camera or program writes. The walk itself
ends at its limit. It decodes nothing, and leaves damage to the decoder to find.
"""

from __future__ import annotations

from collections import Counter

from PIL.JpegImagePlugin import MARKER

from ..errors import TooLarge

# A PNG's writer puts 8 KiB and more into a chunk, a few of them less; texts and profiles are a handful.
CHUNKS, BYTES_A_CHUNK = 4096, 1024
COMPRESSED = {b"zTXt": 32, b"iTXt": 32, b"iCCP": 1}
# Before the first scan: a depth map or a film beside the picture is some 50 segments of 64 KiB. Those that the decoder
# puts together, or takes apart, are one to ten.
SEGMENTS, JOINED = 1000, 32
EXIF, PHOTOSHOP = 0xE1, 0xED
SKIPPED = 65_536  # bytes between segments, which the decoder passes over one by one
START_OF_SCAN = 0xDA
_FILL = frozenset({0x00, 0xFF})
# Markers that the decoder reads no length after.
_BARE = frozenset(marker & 0xFF for marker, (_, _, handler) in MARKER.items() if handler is None)


def check_png(data: bytes) -> None:
    """Raise `TooLarge` for a PNG of more chunks than a decoder should walk."""
    limit = CHUNKS + len(data) // BYTES_A_CHUNK
    compressed: Counter[bytes] = Counter()
    position = 8
    for _ in range(limit):
        kind = data[position + 4 : position + 8]
        if kind in {b"", b"IEND"}:
            return
        if kind in COMPRESSED:
            compressed[kind] += 1
            if compressed[kind] > COMPRESSED[kind]:
                _refuse(f"The PNG has more than {COMPRESSED[kind]} chunks {kind.decode()}", COMPRESSED[kind])
        position += 12 + int.from_bytes(data[position : position + 4])
    _refuse(f"The PNG has more than {limit:,} chunks", limit)


def check_jpeg(data: bytes) -> None:
    """Raise `TooLarge` for a JPEG of more segments before its first scan than a decoder should walk."""
    position, skipped = 2, 0
    markers: Counter[int] = Counter()
    for _ in range(SEGMENTS):
        marker, position, passed = _next_marker(data, position)
        skipped += passed
        if skipped > SKIPPED:
            _refuse(f"The JPEG has more than {SKIPPED:,} bytes between its segments", SKIPPED)
        if marker in {None, START_OF_SCAN}:
            return
        if marker in {EXIF, PHOTOSHOP}:
            markers[marker] += 1
            if markers[marker] > JOINED:
                _refuse(f"The JPEG has more than {JOINED} segments APP{marker & 15}", JOINED)
        if marker not in _BARE:
            position += max(2, int.from_bytes(data[position : position + 2]))
    _refuse(f"The JPEG has more than {SEGMENTS:,} segments before its first scan", SEGMENTS)


def _next_marker(data: bytes, position: int) -> tuple[int | None, int, int]:
    """The next marker, None at the end; where it ends, and how many bytes that are none came before it."""
    start = data.find(b"\xff", position)
    if start < 0:
        return None, len(data), len(data) - position
    end = start + 1
    while end < len(data) and data[end] in _FILL and end - start <= SKIPPED:
        end += 1
    passed = start - position + end - start - 1
    return (data[end] if end < len(data) else None), end + 1, passed


def _refuse(sentence: str, limit: int) -> None:
    raise TooLarge(f"{sentence}, which is the limit.", limit=limit)
