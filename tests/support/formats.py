"""Files of formats other than PNG and JPEG: good ones, written by Pillow, and parts of bad ones."""

from __future__ import annotations

import io
import struct
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable

WITH_HEIC = find_spec("pillow_heif") is not None
HEIC = pytest.param("HEIF", marks=pytest.mark.skipif(not WITH_HEIC, reason="the extra `heic` is not installed"))
# As Pillow names them.
KINDS = ("WEBP", "GIF", "BMP", "TIFF", "AVIF", HEIC)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture in a format."""
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def as_held(image: Image.Image, orientation: int) -> tuple[Image.Image, bytes]:
    """An upright picture as a phone keeps it that was held otherwise, and the EXIF that says so."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF orientation → PIL's Transpose
    inverse = {0: 0, 1: 1, 2: 4, 3: 3, 4: 2, 5: 5, 6: 6}
    exif = Image.Exif()
    exif[0x0112] = orientation
    kept = image if orientation == 1 else image.transpose(Image.Transpose(inverse[undo[orientation]]))
    return kept, exif.tobytes()


def gif(blocks: bytes = b"", *, screen: tuple[int, int] = (40, 20), frame: tuple[int, int] = (40, 20)) -> bytes:
    """A GIF of grey noise with more blocks before its frame, whose size need not be the screen's."""
    plain = encode(Image.effect_noise(frame, 50), "GIF")
    at = 13 + (3 << (plain[10] & 7) + 1 if plain[10] & 0x80 else 0)
    start = plain.index(b",", at)
    return plain[:6] + struct.pack("<HH", *screen) + plain[10:at] + blocks + plain[start:]


def bmp_in_run_lengths(width: int, height: int, data: bytes) -> bytes:
    """A BMP whose grey pixels are runs: each a count and a value; 0 0 ends a row, and 0 1 the picture."""
    palette = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + header + palette + data


def tiff(tags: dict[int, Any], data: bytes = b"", *, order: str = "<", more: int = 0) -> bytes:
    """A TIFF of these tags, each a number, or a tuple of them; the pixels begin at byte 8; `more` tags follow."""
    entries, values = [], b""
    start = 8 + len(data) + len(data) % 2
    at = start + 2 + 12 * (len(tags) + more) + 4
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        place = packed if len(numbers) == 1 else struct.pack(order + "I", at + len(values))
        entries.append(struct.pack(order + "HHI", tag, 4, len(numbers)) + place)
        values += packed if len(numbers) > 1 else b""
    entries += [struct.pack(order + "HHII", 40_000 + number % 20_000, 4, 1, 0) for number in range(more)]
    magic = struct.pack(("<2sHI" if order == "<" else ">2sHI"), b"II" if order == "<" else b"MM", 42, start)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return magic + data + bytes(len(data) % 2) + directory + values


def grey_tiff(width: int, height: int, **other: Any) -> dict[int, Any]:
    """The tags of a TIFF in 8-bit grey, in one strip; `other` ones as t273=…."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: width * height}
    return tags | {int(name[1:]): value for name, value in other.items()}


def box(kind: bytes, content: bytes) -> bytes:
    """A box of an ISO media file."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def boxes(
    width: int,
    height: int,
    *,
    brand: bytes = b"avif",
    kind: bytes = b"av01",
    more: bytes = b"",
    references: bytes = b"",
    items: Iterable[tuple[int, bytes]] = (),
    extents: int = 1,
    shared: int = 8,
    tile: int = 64,
) -> bytes:
    """A file with the tables of a picture whose pixels are garbage; `items` are further ones.

    Each has the file's first `shared` bytes, `extents` times; the further ones have sides of `tile` pixels.
    """
    all_items = [(1, kind), *items]
    infe = b"".join(box(b"infe", struct.pack(">IHH4sB", 2 << 24, item, 0, name, 0)) for item, name in all_items)
    sizes = box(b"ispe", struct.pack(">III", 0, width, height)) + box(b"ispe", struct.pack(">III", 0, tile, tile))
    associated = b"".join(struct.pack(">HBB", item, 1, 1 if item == 1 else 2) for item, _ in all_items)
    extent = struct.pack(">II", 0, shared) * extents
    iloc = b"".join(struct.pack(">HHH", item, 0, extents) + extent for item, _ in all_items)
    meta = b"".join(
        (
            box(b"hdlr", struct.pack(">II4s12xB", 0, 0, b"pict", 0)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, len(all_items)) + iloc),
            box(b"iinf", struct.pack(">IH", 0, len(all_items)) + infe),
            box(b"iref", bytes(4) + references) if references else b"",
            box(
                b"iprp",
                box(b"ipco", sizes) + box(b"ipma", struct.pack(">II", 0, len(all_items)) + associated),
            ),
        )
    )
    return box(b"ftyp", brand + bytes(4) + b"mif1" + brand) + box(b"meta", bytes(4) + meta) + more
