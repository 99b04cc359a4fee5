"""Open a WebP, or the first frame of an animated one: check its chunks, and leave the pixels to libwebp.

In: the bytes of a WebP. Out: a Pillow image whose header is read, once it is within bounds. Frames after the
first are not decoded.
"""

from __future__ import annotations

import io

from PIL.WebPImagePlugin import WebPImageFile

from . import limits
from .opened import Bounds, Opened

# libwebp lists the chunks; a frame has some hundred bytes and more.
MAX_CHUNKS, BYTES_PER_CHUNK = 4096, 1024
# Two canvases of four bytes, the frame as bytes and as Pillow's image: as measured.
BYTES_PER_PIXEL = 16


class _Still(WebPImageFile):
    """A WebP that lets go of the decoder, with its canvases, once the first frame is there."""

    def load_end(self) -> None:
        """Called by Pillow when the pixels are there."""
        super().load_end()
        self._decoder = None


def open_webp(data: bytes, bounds: Bounds) -> Opened:
    """Open a WebP; raises `TooLarge`, `Expensive`, and `ValueError` or Pillow's errors for damage."""
    _check_chunks(data)
    pixels = bounds.check_pixels(*_size(data))
    bounds.check_memory(pixels * BYTES_PER_PIXEL + len(data))  # of which half is taken when the file is opened
    return Opened(_Still(io.BytesIO(data)))


def _check_chunks(data: bytes) -> None:
    limit = MAX_CHUNKS + len(data) // BYTES_PER_CHUNK
    position = 12
    for _ in range(limit):
        if position >= len(data):
            return
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + size + size % 2
    raise limits.too_many("The WebP has more than {} chunks", limit)


def _size(data: bytes) -> tuple[int, int]:
    """Return the canvas's width and height, from the first chunk (RFC 9649 section 2)."""
    kind, head = data[12:16], data[20:30]
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    raise ValueError(kind)
