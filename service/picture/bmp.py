"""Open a BMP, of Windows or OS/2: check its header, and leave the pixels to Pillow.

In: the bytes of a BMP. Out: a Pillow image whose header is read, once it is within bounds. It decodes nothing.
"""

from __future__ import annotations

import io

from PIL.BmpImagePlugin import BmpImageFile

from . import limits
from .opened import Bounds, Opened

# Pixels of a BMP in run lengths, which Pillow decodes one by one in Python; screens of the time when it was used.
MAX_RUN_LENGTH_PIXELS = 2_000_000
_RUN_LENGTHS = {1, 2}  # compressions, of 8 and of 4 bits


def open_bmp(data: bytes, bounds: Bounds) -> Opened:
    """Open a BMP; raises `TooLarge`, `Expensive`, and Pillow's errors for damage."""
    image = BmpImageFile(io.BytesIO(data))
    pixels = bounds.check_pixels(*image.size)
    if image.info["compression"] not in _RUN_LENGTHS:
        bounds.check_memory(pixels * limits.BYTES_PER_PIXEL.get(image.mode, 4))
        return Opened(image)
    if max(pixels, len(data) // 2) > MAX_RUN_LENGTH_PIXELS:
        raise limits.too_many("The BMP in run lengths has more than {} pixels", MAX_RUN_LENGTH_PIXELS)
    return Opened(image)
