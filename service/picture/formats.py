"""A file's first bytes → the format that they are of: PNG and JPEG, which are read here, or what people send instead.

In: bytes. Out: whether they begin as a picture that is read, or the error that names what they are. It decodes nothing.
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


def is_read(data: bytes | bytearray) -> bool:
    """Whether these bytes begin as a PNG or a JPEG."""
    return data.startswith((PNG, JPEG))


def refusal(data: bytes) -> NotAPicture | None:
    """The error that names another format that people know; None for bytes of none."""
    for name, pattern in _PATTERNS.items():
        if pattern.match(data):
            return NotAPicture(f"This is {name}, which is not read here; convert it to PNG or JPEG.")
    return None
