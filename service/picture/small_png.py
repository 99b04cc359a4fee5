"""Read the most common picture in a third of the time: a 28 x 28 PNG of 8-bit grey, as MNIST clients send it.

In: bytes. Out: 784 pixels, or None for any other picture and for damage, which `decode` reads. For so small a PNG,
Pillow's parsing of chunks and its `Image` cost more than its decoder. Here the decoder is called directly, and writes
into our own memory.
"""

from __future__ import annotations

import zlib

from PIL import _imaging

_SIZE = (28, 28)
_MAX_BYTES = 1024  # without any compression, such a file has 884
# The magic bytes; the header: 28 x 28, bit depth 8, grey, deflate, adaptive filters, not interlaced; and its checksum.
_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x1c\0\0\0\x1c\x08\0\0\0\0\x57\x66\x80\x48"
_END = b"\0\0\0\0IEND\xaeB`\x82"


def read_small_grey(data: bytes) -> bytes | None:
    """Read the rows of a PNG that consists of this header, one chunk of data and an end; else None."""
    if len(data) > _MAX_BYTES or not (data.startswith(_HEAD) and data.endswith(_END) and _is_chunk(data[33:-12])):
        return None
    pixels = bytearray(_SIZE[0] * _SIZE[1])
    decoder = _imaging.zip_decoder("L", "L", 0)
    decoder.setimage(_imaging.map_buffer(pixels, _SIZE, "raw", 0, ("L", 0, 1)), (0, 0, *_SIZE))
    missing, error = decoder.decode(data[41:-16])
    return bytes(pixels) if missing < 0 and not error else None  # the condition of `Image.frombytes`


def _is_chunk(data: bytes) -> bool:
    """Whether these bytes are one chunk of image data with the right length and checksum."""
    return (
        int.from_bytes(data[:4], "big") == len(data) - 12
        and data[4:8] == b"IDAT"
        and int.from_bytes(data[-4:], "big") == zlib.crc32(data[4:-4])
    )
