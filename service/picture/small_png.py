"""Read the most common picture in a third of the time: a 28 x 28 PNG of 8-bit grey, as MNIST clients send it.

In: bytes. Out: 784 pixels, or None for any other picture and for damage, which `decode` reads. For so small a PNG,
Pillow's parsing of chunks and its `Image` cost more than its decoder. Here the decoder is called directly, and writes
into our own memory.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from PIL import _imaging

from .mnist_format import SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAX_BYTES = 1024  # without any compression, such a file has 884
# The magic bytes; the header: 28 x 28, bit depth 8, grey, deflate, adaptive filters, not interlaced; and its checksum.
_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x1c\0\0\0\x1c\x08\0\0\0\0\x57\x66\x80\x48"
_END = b"\0\0\0\0IEND\xaeB`\x82"


def read_small_grey(data: bytes) -> bytes | None:
    """Read the rows of a PNG that consists of this header, one chunk of data and an end; else None."""
    if not _is_small_grey(data):
        return None
    pixels = bytearray(SIDE * SIDE)
    canvas = _imaging.map_buffer(pixels, (SIDE, SIDE), "raw", 0, ("L", 0, 1))
    return bytes(pixels) if _decode(data, canvas, 0) else None


def read_all_small_grey(pictures: Sequence[bytes]) -> bytes | None:
    """Read the rows of several such PNGs, n·784 pixels; None if one of them is another picture, or damaged."""
    if not all(map(_is_small_grey, pictures)):
        return None
    pixels = bytearray(SIDE * SIDE * len(pictures))
    canvas = _imaging.map_buffer(pixels, (SIDE, SIDE * len(pictures)), "raw", 0, ("L", 0, 1))  # one below the other
    all_read = all(_decode(data, canvas, SIDE * number) for number, data in enumerate(pictures))
    return bytes(pixels) if all_read else None


def _decode(data: bytes, canvas: Any, top: int) -> bool:
    """Decode such a PNG into the canvas's rows from `top` on; return whether it is whole."""
    decoder = _imaging.zip_decoder("L", "L", 0)
    decoder.setimage(canvas, (0, top, SIDE, top + SIDE))
    missing, error = decoder.decode(data[41:-16])
    return missing < 0 and not error  # the condition of `Image.frombytes`


def _is_small_grey(data: bytes) -> bool:
    """Whether these bytes begin and end so, with one chunk of image data of the right length and checksum between."""
    if len(data) > _MAX_BYTES or not (data.startswith(_HEAD) and data.endswith(_END)):
        return False
    length, chunk, checksum = data[33:37], data[37:-16], data[-16:-12]
    right_length = int.from_bytes(length) == len(chunk) - 4  # of its data, without its name
    return right_length and chunk.startswith(b"IDAT") and checksum == zlib.crc32(chunk).to_bytes(4)
