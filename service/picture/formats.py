"""Formats by their bytes: PNG and JPEG, which are supported, and others that people send instead.

In: bytes. Out: whether they begin as a PNG or JPEG, or the error that names their format. It does not decode.
"""

from __future__ import annotations

import re

import numpy as np

from ..errors import Malformed, NotAPicture

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# The brands of ISO media files: ISO/IEC 23008-12 annex B for HEIC, AV1 Image File Format section 5 for AVIF.
_OTHERS = {
    "a HEIC picture, as iPhones keep them": rb".{4}ftyp(hei[cxms]|hev[cx]|mif1|msf1)",
    "an AVIF picture": rb".{4}ftypavi[fs]",
    "a WebP picture": rb"RIFF.{4}WEBP",
    "a GIF": rb"GIF8[79]a",
    "a TIFF": rb"II\*\0|MM\0\*",
    "a BMP": rb"BM.{4}\0{4}",
    "a PDF": rb"%PDF-",
    "XML, as an SVG is": rb"(\xef\xbb\xbf)?\s{0,100}<(\?xml|svg)",
}
# Of floats that people send as pixels: the bytes of one, and the highest bytes of those from 0 to 255.
_FLOATS = {"float32": (4, bytes(range(0x44))), "float64": (8, bytes(range(0x41)))}
_SCALED_FROM = 2**-10  # pixels of 0..1 that are not 0 are 1/255 or more, but for what resizing leaves
_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in _OTHERS.items()}


def is_supported(data: bytes | bytearray) -> bool:
    """Whether bytes begin as a PNG or a JPEG."""
    return data.startswith((PNG, JPEG))


def unsupported(data: bytes) -> NotAPicture | None:
    """Return the error that names a known format; None where the format is unknown."""
    for name, pattern in _PATTERNS.items():
        if pattern.match(data):
            return NotAPicture(f"This is {name}, which is not read here; convert it to PNG or JPEG.")
    return None


def floats(data: bytes) -> Malformed | None:
    """Return the error for N·784 bytes of pixels that are float32 or float64 instead of uint8; None for others.

    Pixels are floats if all of them are from 0 to 1, and most that are not 0 are not tiny; or if they are whole numbers
    up to 255. A digit in uint8 reads as tiny floats where it leaves every fourth column dark. None of MNIST's 70,000
    digits is taken for floats, alone or among blank pictures. For nearly all of them the first slice decides, within a
    microsecond.
    """
    for name, (size, low) in _FLOATS.items():
        if len(data) % (size * 784) or data[size - 1 :: size].translate(None, low):
            continue
        values = np.frombuffer(data, f"<f{size}")
        values = values[values != 0]
        highest = values.max(initial=0)
        if highest <= 1 and np.count_nonzero(values >= _SCALED_FROM) > values.size / 2:
            return _not_uint8(data, name, "multiply them by 255, and send")
        if 0 < highest <= 255 and not (values % 1).any():
            return _not_uint8(data, name, "send")
    return None


def _not_uint8(data: bytes, name: str, cure: str) -> Malformed:
    count = f"{len(data):,} bytes"
    return Malformed(
        f"Pixels are uint8, of one byte each; these {count} are {name}: {cure} x.astype(np.uint8).tobytes()."
    )
