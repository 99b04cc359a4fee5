"""Open the first frame of a GIF: check its blocks before the frame, and leave the pixels to Pillow.

In: the bytes of a GIF. Out: a Pillow image whose header is read, once it is within bounds. Frames after the first
are never reached.
"""

from __future__ import annotations

import io

from PIL.GifImagePlugin import GifImageFile

from . import limits
from .opened import Bounds, Opened

# Pillow reads the blocks one by one in Python. One has up to 255 bytes, and some 80 where a text is taken for blocks.
MAX_BLOCKS, BYTES_PER_BLOCK = 4096, 1024
_EXTENSION, _FRAME, _END = b"!,;"
_COMMENT, _APPLICATION = 0xFE, 0xFF  # labels of extensions


def open_gif(data: bytes, bounds: Bounds) -> Opened:
    """Open a GIF; raises `TooLarge`, `Expensive`, and Pillow's errors for damage."""
    frame = _find_frame(data)
    # Pillow's canvas grows where the first frame is larger than the screen.
    width, height = (max(_u16(data, 6 + at), _u16(data, frame + 1 + at) + _u16(data, frame + 5 + at)) for at in (0, 2))
    bounds.check_pixels(width, height)
    image = GifImageFile(io.BytesIO(data))
    bounds.check_memory(bounds.check_pixels(*image.size))  # a byte for each pixel
    return Opened(image)


def _find_frame(data: bytes) -> int:
    """Return the position of the first frame's descriptor, which Pillow finds in the same way."""
    position = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    limit = MAX_BLOCKS + len(data) // BYTES_PER_BLOCK
    blocks = 0
    while data[position] != _FRAME:
        if data[position] == _END:
            raise EOFError
        if data[position] != _EXTENSION:  # is passed over
            blocks, position = blocks + 1, position + 1
        else:
            label, position = data[position + 1], position + 2
            netscape = label == _APPLICATION and data.startswith(b"NETSCAPE2.0", position + 1) and data[position] > 10
            least = 1 if label == _COMMENT else 3 if netscape else 2  # blocks that are read, even empty
            size = 1
            while (size or least > 0) and blocks < limit:
                size = data[position]
                blocks, position, least = blocks + 1, position + 1 + size, least - 1
        if blocks >= limit:
            raise limits.too_many("The GIF has more than {} blocks before its first frame", limit)
    return position


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")
