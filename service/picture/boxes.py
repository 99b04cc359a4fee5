"""Open a HEIC or AVIF picture: check its boxes, and leave the pixels to libheif or libavif.

In: the bytes of an ISO media file (ISO/IEC 14496-12, 23008-12). Out: a Pillow image whose header is read, once it is
within bounds. Of a sequence, the still picture is read; the film's tables and all texts are hidden from the
decoders. Their time grows faster than the file with the number of items, and a few bytes can have one tile decoded
often: both are limited.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, NamedTuple

from PIL import AvifImagePlugin
from PIL.AvifImagePlugin import AvifImageFile

from ..errors import NotAPicture
from . import limits
from .opened import Bounds, Opened

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    import pillow_heif
except ImportError:  # it is an extra
    pass
else:
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = pillow_heif.options.DEPTH_IMAGES = pillow_heif.options.AUX_IMAGES = False
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a reader has one core, and little memory for stacks

MAX_BOXES = 4096  # a picture of 48 megapixels has some 500
MAX_ITEMS = 1000  # tiles, thumbnails, depths and texts: 12 megapixels have 48 tiles; libheif's limit too
# Tiles together, in pixels of the largest picture: the last ones of a row or column reach beyond the picture.
MAX_TILED = 2
# Bytes for each pixel, as measured.
AVIF_BYTES, HEIC_BYTES = 14, 10
_FILM = b"moov"
_TEXTS = {b"Exif", b"mime", b"uri "}  # what they say of the orientation does not count: irot and imir do
_READ = {b"pitm", b"iinf", b"iloc", b"iref", b"iprp"}  # boxes of a meta box
_CODED, _GRID = {b"av01", b"hvc1", b"hev1"}, b"grid"


class Box(NamedTuple):
    """A box, by where its contents are."""

    kind: bytes
    start: int
    end: int


def open_avif(data: bytes, bounds: Bounds) -> Opened:
    """Open an AVIF; raises `TooLarge`, `Expensive`, `NotAPicture`, and Pillow's errors for damage."""
    return Opened(AvifImageFile(io.BytesIO(_check(data, bounds, AVIF_BYTES))))


def open_heic(data: bytes, bounds: Bounds) -> Opened:
    """Open a HEIC, as `open_avif`; libheif turns the picture upright."""
    return Opened(pillow_heif.HeifImageFile(io.BytesIO(_check(data, bounds, HEIC_BYTES))))


def _check(data: bytes, bounds: Bounds, bytes_per_pixel: int) -> bytes:
    """Check the boxes; return the file without a film, and without texts."""
    boxes = list(_boxes(data, 0, len(data)))
    metas = [box for box in boxes if box.kind == b"meta"]
    if not metas:
        raise NotAPicture("The file is a film without a still picture; send one of its frames as PNG or JPEG.")
    if len(metas) > 1:  # readers differ in which one they take
        raise EOFError
    items = _Items(data, metas[0])
    items.check_tiles(bounds.max_pixels)
    for item in (items.primary, *items.auxiliaries):
        if items.kinds.get(item) not in {*_CODED, _GRID}:
            raise NotAPicture("The picture consists of others in a way that is not read here; save it as PNG or JPEG.")
        bounds.check_memory(bounds.check_pixels(*items.size(item)) * bytes_per_pixel)
    return _hide(data, boxes, items.texts)


def _hide(data: bytes, boxes: list[Box], texts: list[int]) -> bytes:
    """Hide the film's tables, that there are any, and the texts; these are at positions of their items' kinds."""
    films = [box for box in boxes if box.kind == _FILM]
    if not films and not texts:
        return data
    hidden = bytearray(data)
    for at in (*texts, *(data.rindex(_FILM, 0, box.start) for box in films)):
        hidden[at : at + 4] = b"free"
    for box in boxes:
        if box.kind == b"ftyp" and films:
            for film, still in ((b"avis", b"avif"), (b"msf1", b"mif1"), (b"hevc", b"heic"), (b"hevx", b"heix")):
                hidden[box.start : box.end] = hidden[box.start : box.end].replace(film, still)
    return bytes(hidden)


def _boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two positions; raises `TooLarge` for too many, and `EOFError` for one that is cut off."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, head = _number(data, start, 4), 8
        if size == 1:
            size, head = _number(data, start + 8, 8), 16
        size = size or end - start
        if size < head or start + size > end:
            raise EOFError
        yield Box(data[start + 4 : start + 8], start + head, start + size)
        start += size
    raise limits.too_many("The file has more than {} boxes", MAX_BOXES)


def _number(data: bytes, at: int, size: int) -> int:
    if at + size > len(data):
        raise EOFError
    return int.from_bytes(data[at : at + size])


class _Items:
    """The items of a file: their kinds, sizes and references (ISO/IEC 14496-12 section 8.11)."""

    def __init__(self, data: bytes, meta: Box) -> None:
        self._data = data
        self.primary = -1
        self.kinds: dict[int, bytes] = {}
        self.auxiliaries: list[int] = []
        self.texts: list[int] = []  # positions of their kinds
        self._tiles: dict[int, list[int]] = {}  # of a derived item
        self._sizes: dict[int, tuple[int, int]] = {}
        readers = {
            b"pitm": self._read_primary,
            b"iinf": self._read_kinds,
            b"iloc": self._check_extents,
            b"iref": self._read_references,
            b"iprp": self._read_properties,
        }
        for box in _boxes(data, meta.start + 4, meta.end):
            if box.kind in _READ:
                if box.kind not in readers:  # it comes twice
                    raise EOFError
                readers.pop(box.kind)(box)

    def size(self, item: int) -> tuple[int, int]:
        """Return an item's width and height; raises `EOFError` where it has none."""
        if item not in self._sizes:
            raise EOFError
        return self._sizes[item]

    def check_tiles(self, max_pixels: int) -> None:
        """Raise `TooLarge` for tiles of too many pixels, and `NotAPicture` for tiles that have tiles."""
        pixels = 0
        for item, tiles in self._tiles.items():
            if self.kinds.get(item) != _GRID:
                continue
            for tile in tiles:
                width, height = self.size(tile)
                pixels += width * height
                if self.kinds.get(tile) not in _CODED:
                    raise EOFError
        if pixels > MAX_TILED * max_pixels:
            raise limits.too_many("The picture's tiles have more than {} pixels", MAX_TILED * max_pixels)

    def _read_primary(self, box: Box) -> None:
        self.primary = _number(self._data, box.start + 4, 4 if self._data[box.start] else 2)

    def _read_kinds(self, box: Box) -> None:
        data = self._data
        wide = 4 if data[box.start] else 2
        _check_items(_number(data, box.start + 4, wide))
        for count, (_, at, _) in enumerate(_boxes(data, box.start + 4 + wide, box.end), 1):
            _check_items(count)
            wide = 4 if data[at] > 2 else 2
            place = at + 6 + wide
            kind = self.kinds[_number(data, at + 4, wide)] = data[place : place + 4]
            if kind in _TEXTS:
                self.texts.append(place)

    def _check_extents(self, box: Box) -> None:
        """Check where the items' bytes are: not more bytes than the file has, but for those that items share."""
        data, at = self._data, box.start + 4
        version, sizes = data[box.start], _number(data, at, 2)
        offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        wide = 4 if version > 1 else 2
        items, at, extents, coded = _number(data, at + 2, wide), at + 2 + wide, 0, 0
        _check_items(items)
        for _ in range(items):
            at += wide + (2 if version else 0) + 2 + base
            count, at = _number(data, at, 2), at + 2
            extents += count
            if extents > MAX_BOXES:
                raise limits.too_many("The picture's items are in more than {} pieces", MAX_BOXES)
            for _ in range(count):
                at += (index if version else 0) + offset
                coded += _number(data, at, length) or len(data)
                at += length
        if coded > 4 * len(data):
            raise limits.too_many("The picture's items have more than {} bytes", 4 * len(data))

    def _read_references(self, box: Box) -> None:
        data = self._data
        wide = 4 if data[box.start] else 2
        for kind, at, _ in _boxes(data, box.start + 4, box.end):
            item, count = _number(data, at, wide), _number(data, at + wide, 2)
            first = at + wide + 2
            if kind == b"dimg":
                if count > MAX_BOXES:
                    raise limits.too_many("The picture has more than {} tiles", MAX_BOXES)
                self._tiles.setdefault(item, []).extend(
                    _number(data, first + wide * tile, wide) for tile in range(count)
                )
            elif kind == b"auxl":
                self.auxiliaries.append(item)

    def _read_properties(self, box: Box) -> None:
        data, properties = self._data, list[Box]()
        for part in _boxes(data, box.start, box.end):
            if part.kind == b"ipco":
                if properties:
                    raise EOFError
                properties = list(_boxes(data, part.start, part.end))
            elif part.kind == b"ipma":
                self._read_associations(part, properties)

    def _read_associations(self, box: Box, properties: list[Box]) -> None:
        data, at = self._data, box.start + 8
        wide, long = 4 if data[box.start] else 2, 2 if data[box.start + 3] & 1 else 1
        _check_items(count := _number(data, box.start + 4, 4))
        for _ in range(count):
            item, associated, at = _number(data, at, wide), data[at + wide], at + wide + 1
            for _ in range(associated):
                index, at = _number(data, at, long) & (0x7FFF if long == 2 else 0x7F), at + long
                if 0 < index <= len(properties) and properties[index - 1].kind == b"ispe":
                    start = properties[index - 1].start
                    size = _number(data, start + 4, 4), _number(data, start + 8, 4)
                    self._sizes[item] = max(self._sizes.get(item, size), size, key=math.prod)


def _check_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise limits.too_many("The file has more than {} items", MAX_ITEMS)
