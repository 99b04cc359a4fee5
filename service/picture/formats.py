"""File formats by their first bytes: PNG and JPEG, which are supported, and others that people send instead.

In: bytes. Out: whether they begin as a PNG or JPEG, or the error that names their format. It does not decode.
"""

from __future__ import annotations

import re

from ..errors import NotAPicture

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
