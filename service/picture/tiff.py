"""Open the first page of a TIFF: check its tags, and leave the pixels to Pillow and libtiff.

In: the bytes of a TIFF (Adobe, TIFF 6.0, 1992). Out: a Pillow image whose header is read, once it is within bounds. The
decoders get a directory with the tags that pixels need, and no other: no further page, no EXIF, no private tag.
Compressions that people's programs and scanners do not write are refused.
"""

from __future__ import annotations

import io
import math
import struct
from typing import NamedTuple

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import NotAPicture
from . import limits
from .opened import Bounds, Opened

MAX_TAGS = 1000  # a camera's have some fifty, a map's some thirty
# Strips and tiles have 8 KiB and more, or a row of pixels.
MAX_PARTS, BYTES_PER_PART = 4096, 1024
MAX_VALUES = 1024  # of other tags; colours of a palette are the most, 768
MAX_TABLES = 65_536  # bytes of the tables that all parts in JPEG share
MAX_TILED = 4  # times the picture's pixels, and some more for a small picture in one tile
TILE_PIXELS = 2**20
COMPRESSIONS = {
    1: "none", 2: "CCITT", 3: "fax G3", 4: "fax G4", 5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits",
    32946: "deflate",
}  # fmt: skip
_NAMES = {6: "old JPEG", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 34712: "JPEG 2000"}
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _STRIPS, _SAMPLES = 256, 257, 258, 259, 273, 277
_ROWS, _STRIP_BYTES, _PLANES, _ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 278, 279, 284, 274, 322, 323
_TILES, _TILE_BYTES, _TABLES, _PHOTOMETRIC = 324, 325, 347, 262
_YCBCR, _JPEG = 6, 7  # a photometric interpretation, and a compression
_PARTS = {_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}
# What else pixels need: photometric interpretation, fill order, options of fax, predictor, palette, extra samples,
# sample format, and those of YCbCr.
_NEEDED = {
    _PHOTOMETRIC, 266, 292, 293, 317, 320, 338, 339, 529, 530, 531, 532, _BITS, _COMPRESSION, _LENGTH, _PLANES, _ROWS,
}  # fmt: skip
_NEEDED |= {_SAMPLES, _TABLES, _TILE_LENGTH, _TILE_WIDTH, _WIDTH, *_PARTS}
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 7: "B", 10: "ii", 11: "f", 12: "d"}
# Of Pillow's modes, those that can be converted: not CIELAB, nor grey with alpha that it is multiplied with.
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I", "I;16", "I;16B", "F"}


class Tag(NamedTuple):
    """An entry of a directory."""

    entry: bytes  # as in the file, 12 bytes
    kind: str  # of its values, as `struct` has it
    length: int
    at: int  # where its values are

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return struct.calcsize("<" + self.kind) * self.length


def open_tiff(data: bytes, bounds: Bounds) -> Opened:
    """Open a TIFF; raises `TooLarge`, `Expensive`, `NotAPicture`, and Pillow's errors for damage."""
    if 43 in data[2:4]:
        raise NotAPicture("This is a BigTIFF, which is not read here; save it as a plain TIFF or as PNG.")
    page = _Page(data)
    pixels = bounds.check_pixels(page.number(_WIDTH), page.number(_LENGTH))
    page.check_compression()
    part = page.check_parts(pixels)
    try:
        image = TiffImageFile(io.BytesIO(page.alone()))
    except SyntaxError:  # of a directory that is in order
        image = None
    if image is None or image.mode not in _MODES:
        bits = " + ".join(map(str, page.numbers(_BITS)))
        raise NotAPicture(
            f"The TIFF's kind of pixels, of {bits} bits, is not read here; save it as RGB or grey, or as PNG."
        )
    unpacked = pixels * limits.BYTES_PER_PIXEL.get(image.mode, 4)
    bounds.check_memory(unpacked + part * page.bytes_per_pixel() + len(data))
    return Opened(image, page.number(_ORIENTATION, 1))


class _Page:
    """The first page's directory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._tags: dict[int, Tag] = {}
        (start,) = struct.unpack_from(self._order + "I", data, 4)
        (count,) = struct.unpack_from(self._order + "H", data, start)
        if count > MAX_TAGS:
            raise limits.too_many("The TIFF's first page has more than {} tags", MAX_TAGS)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            self._add(data[at : at + 12], at)

    def _add(self, entry: bytes, at: int) -> None:
        tag, kind, count = struct.unpack_from(self._order + "HHI", entry)
        if tag not in _NEEDED | {_ORIENTATION} or kind not in _TYPES or tag in self._tags:
            return
        found = Tag(entry, _TYPES[kind], count, at + 8)
        if found.size > 4:
            found = found._replace(at=struct.unpack_from(self._order + "I", entry, 8)[0])
        if not count or found.at + found.size > len(self._data):
            raise EOFError
        if tag not in _PARTS and count > (MAX_TABLES if tag == _TABLES else MAX_VALUES):
            raise limits.too_many(f"The TIFF's tag {tag} has more than {{}} values", MAX_VALUES)
        self._tags[tag] = found

    def numbers(self, tag: int, default: int = 1) -> list[int]:
        """Return a tag's values, or the default where it is missing."""
        if tag not in self._tags:
            return [default]
        _, kind, count, at = self._tags[tag]
        if kind not in {"B", "H", "I"}:
            raise ValueError(tag)
        kinds = {"B": "u1", "H": self._order + "u2", "I": self._order + "u4"}
        values: list[int] = np.frombuffer(self._data, kinds[kind], count, at).tolist()
        return values

    def number(self, tag: int, default: int = 0) -> int:
        """Return a tag's first value."""
        return self.numbers(tag, default)[0]

    def bytes_per_pixel(self) -> int:
        """Return the bytes of a pixel in a part that is unpacked, and converted where libtiff does that."""
        bits = self.numbers(_BITS)
        converted = 4 if self.number(_PHOTOMETRIC) == _YCBCR and self.number(_COMPRESSION, 1) != _JPEG else 0
        return math.ceil(max(sum(bits), bits[0] * self.number(_SAMPLES, 1)) / 8) + converted

    def check_compression(self) -> None:
        """Raise `NotAPicture` for a compression that is not read."""
        compression = self.number(_COMPRESSION, 1)
        if compression not in COMPRESSIONS:
            name = _NAMES.get(compression, f"number {compression}")
            read = ", ".join(dict.fromkeys(COMPRESSIONS.values()))
            raise NotAPicture(
                f"The TIFF's compression is {name}; {read} are read. Save it with one of these, or as PNG."
            )

    def check_parts(self, pixels: int) -> int:
        """Check the strips or tiles; return the pixels of the largest part."""
        width, length = self.number(_WIDTH), self.number(_LENGTH)
        tiled = _STRIPS not in self._tags
        across, down = width, min(self.number(_ROWS, length), length)
        if tiled:
            across, down = self.number(_TILE_WIDTH), self.number(_TILE_LENGTH)
        if not (across and down):
            raise ValueError(down)
        count = math.ceil(width / across) * math.ceil(length / down)
        if across * down * count > MAX_TILED * pixels + TILE_PIXELS:
            raise limits.too_many("The TIFF's tiles have more than {} pixels", MAX_TILED * pixels + TILE_PIXELS)
        count *= self.number(_SAMPLES, 1) if self.number(_PLANES, 1) == 2 else 1
        limit = MAX_PARTS + len(self._data) // BYTES_PER_PART
        offsets, sizes = (_TILES, _TILE_BYTES) if tiled else (_STRIPS, _STRIP_BYTES)
        if count > limit or self._tags[offsets].length > limit:
            raise limits.too_many("The TIFF has more than {} strips or tiles", limit)
        if self._tags[offsets].length != count:
            raise ValueError(count)
        if sizes in self._tags or self.number(_COMPRESSION, 1) != 1:
            ends = zip(self.numbers(offsets), self.numbers(sizes), strict=True)
            if max(at + size for at, size in ends) > len(self._data):
                raise EOFError
        return across * down

    def alone(self) -> bytes:
        """Return the file with a directory of this page alone, at its end, of the tags that pixels need."""
        data, order = self._data, self._order
        entries = [tag.entry for number, tag in sorted(self._tags.items()) if number != _ORIENTATION]
        padding = bytes(len(data) % 2)
        start = struct.pack(order + "I", len(data) + len(padding))
        directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
        return b"".join((data[:4], start, memoryview(data)[8:], padding, directory))
