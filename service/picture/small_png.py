"""The commonest picture, read in a third of the time: a 28 x 28 PNG of 8-bit grey, as every MNIST client sends it.

In: bytes. Out: 784 pixels, or None for whatever is not exactly that, whole and undamaged; `picture` reads the rest. For
so small a PNG, Pillow's parsing of chunks and its handling of pictures cost more than its decoder, which is used here
directly, and writes straight into memory of ours.
"""

from __future__ import annotations

import zlib

from PIL import _imaging

_SIZE = (28, 28)
_MOST = 1024  # bytes; not compressed at all, such a file has 884
# The signature; the header: 28 x 28, bit depth 8, grey, deflate, adaptive filters, not interlaced; and its checksum.
_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x1c\0\0\0\x1c\x08\0\0\0\0\x57\x66\x80\x48"
_END = b"\0\0\0\0IEND\xaeB`\x82"


def read_small_grey(data: bytes) -> bytes | None:
    """Rows of a PNG that is this header, one chunk of data and an end; None if it is anything else or damaged."""
    if not (len(data) <= _MOST and data.startswith(_HEAD) and data.endswith(_END) and _whole(data[33:-12])):
        return None
    pixels = bytearray(_SIZE[0] * _SIZE[1])
    decoder = _imaging.zip_decoder("L", "L", 0)
    decoder.setimage(_imaging.map_buffer(pixels, _SIZE, "raw", 0, ("L", 0, 1)), (0, 0, *_SIZE))
    wanting, error = decoder.decode(data[41:-16])
    return bytes(pixels) if wanting < 0 and not error else None  # as `Image.frombytes` has it


def _whole(chunk: bytes) -> bool:
    """Whether this is one chunk of data, as long and as summed as it says."""
    return (
        int.from_bytes(chunk[:4], "big") == len(chunk) - 12
        and chunk[4:8] == b"IDAT"
        and int.from_bytes(chunk[-4:], "big") == zlib.crc32(chunk[4:-4])
    )
