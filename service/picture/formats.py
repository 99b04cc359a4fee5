"""Formats by their bytes: those that are read, by name, and others that people send instead.

In: bytes. Out: the format's name, or the error that names it and says what is read. It does not decode.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import Malformed, NotAPicture

if TYPE_CHECKING:
    from collections.abc import Collection

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


class Format(NamedTuple):
    """A format that is read."""

    title: str  # as people write it
    called: str  # in a sentence
    media_type: str
    start: bytes  # regular expression of its first bytes


# By name, as MNIST_FORMATS has them. HEIC and AVIF have the brands of ISO media files: ISO/IEC 23008-12 annex B, AV1
# Image File Format section 5. A BMP's two letters alone are too common: the size of its second header follows.
FORMATS = {
    "png": Format("PNG", "a PNG", "image/png", rb"\x89PNG\r\n\x1a\n"),
    "jpeg": Format("JPEG", "a JPEG", "image/jpeg", rb"\xff\xd8\xff"),
    "webp": Format("WebP", "a WebP picture", "image/webp", rb"RIFF.{4}WEBP"),
    "gif": Format("GIF", "a GIF", "image/gif", rb"GIF8[79]a"),
    "bmp": Format("BMP", "a BMP", "image/bmp", rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    "tiff": Format("TIFF", "a TIFF", "image/tiff", rb"II[*+]\0|MM\0[*+]"),
    "avif": Format("AVIF", "an AVIF picture", "image/avif", rb".{4}ftyp(?:avi[fs]|m[is]f1.{4}(?:.{4}){0,15}?avi[fs])"),
    "heic": Format("HEIC", "a HEIC picture, as iPhones keep them", "image/heic", rb".{4}ftyp(?:he[iv][cxms]|m[is]f1)"),
}
_OTHERS = {"a PDF": rb"%PDF-", "XML, as an SVG is": rb"(?:\xef\xbb\xbf)?\s{0,100}<(?:\?xml|svg)"}
_START = re.compile(b"|".join(b"(?P<%b>%b)" % (name.encode(), kind.start) for name, kind in FORMATS.items()), re.DOTALL)
_FOREIGN = {name: re.compile(pattern) for name, pattern in _OTHERS.items()}
_FIRST_BYTES = frozenset({b"\x89P", b"\xff\xd8", b"RI", b"GI", b"BM", b"II", b"MM"})  # a glance, for raw pixels
HEIC_INSTALLED = find_spec("pillow_heif") is not None
# Of floats that people send as pixels: the bytes of one, and the highest bytes of those from 0 to 255.
_FLOATS = {"float32": (4, bytes(range(0x44))), "float64": (8, bytes(range(0x41)))}
_GLANCE = 4096  # bytes that decide for nearly all pixels that are not floats
_SCALED_FROM = 2**-10  # pixels of 0..1 that are not 0 are 1/255 or more, but for what resizing leaves


def is_picture(data: bytes | bytearray) -> bool:
    """Whether bytes begin as a picture of one of the formats, be it read here or not."""
    return (bytes(data[:2]) in _FIRST_BYTES or data[4:8] == b"ftyp") and _START.match(data) is not None


def name_of(data: bytes) -> str | None:
    """Return the name of a picture's format; None where it is none of these."""
    match = _START.match(data)
    return None if match is None else match.lastgroup


def unsupported(data: bytes) -> NotAPicture | None:
    """Return the error that names a known format that is never read; None where the format is unknown."""
    for name, pattern in _FOREIGN.items():
        if pattern.match(data):
            return NotAPicture(f"This is {name}, which is not read here; convert it to PNG or JPEG.")
    return None


def refusal(data: bytes, read: Collection[str]) -> NotAPicture:
    """Return the error for bytes that are in no format of those that are read."""
    name = name_of(data)
    if name is None:
        return unsupported(data) or NotAPicture(f"The bytes are no picture that is read here; send {titles(read)}.")
    if name in read:  # and is not installed
        return NotAPicture(
            f"This is {FORMATS[name].called}, which needs the extra `heic` (pip install pillow-heif) where the service "
            f"runs; convert it to {titles(read)}."
        )
    return NotAPicture(f"This is {FORMATS[name].called}, which is not read here; convert it to {titles(read)}.")


def titles(read: Collection[str]) -> str:
    """Return the formats that are read, as a sentence has them: PNG, JPEG or GIF."""
    *most, last = [kind.title for name, kind in FORMATS.items() if name in readable(read)] or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


def is_readable(name: str | None, read: Collection[str]) -> bool:
    """Whether a format is one of those, and what decodes it is installed."""
    return name in read and (name != "heic" or HEIC_INSTALLED)


def readable(read: Collection[str]) -> list[str]:
    """Return those of the formats that can be read with what is installed, in order."""
    return [name for name in FORMATS if is_readable(name, read)]


def floats(data: bytes) -> Malformed | None:
    """Return the error for N·784 bytes of pixels that are float32 or float64 instead of uint8; None for others.

    Pixels are floats if all of them are from 0 to 1, and most that are not 0 are not tiny; or if they are whole numbers
    up to 255. A digit in uint8 reads as tiny floats where it leaves every fourth column dark. None of MNIST's 70,000
    digits is taken for floats, alone or among blank pictures. The first slice decides for nearly all of them, within
    two microseconds.
    """
    for name, (size, low) in _FLOATS.items():
        if len(data) % (size * 784) or data[size - 1 : _GLANCE : size].translate(None, low):
            continue
        if data[size - 1 :: size].translate(None, low):
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
