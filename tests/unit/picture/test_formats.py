"""Formats other than PNG and JPEG, as `service.picture.decode.decode` reads them: modes, frames, limits, damage."""

from __future__ import annotations

import contextlib
import math
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from service import open_model, settings
from service.errors import NotAPicture, ServiceError, TooLarge
from service.picture import bmp, boxes, formats, gif, prepare, tiff, webp
from service.picture.decode import decode
from service.picture.opened import Expensive
from tests.support import formats as files
from tests.support.formats import HEIC, KINDS, WITH_HEIC, as_held, encode
from tests.support.hostile_bodies import with_changed_bytes
from tests.support.pictures import SEVEN_FILE
from tests.support.service import MODELS, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.arrays import Pixels
    from service.in_process import Model

LIMIT = 40_000_000
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8))
TIFF_MODES = ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
COMPRESSIONS = (None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
FAST = {"enc_params": {"preset": "ultrafast"}}  # of HEIC


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(MODELS / "2")


def sheet(ink: str = "black", size: tuple[int, int] = (400, 200)) -> Image.Image:
    """A white sheet with a block in its upper left corner."""
    image = Image.new("RGB", size, "white")
    image.paste(ink, (0, 0, size[0] // 4, size[1] // 4))
    return image


def read(data: bytes, **options: Any) -> Pixels:
    return decode(data, max_pixels=LIMIT, **options).pixels


def shows_the_sheet(pixels: Pixels) -> bool:
    """Whether the block is dark, and the rest is light."""
    height, width = pixels.shape[:2]
    dark, light = pixels[: height // 5, : width // 5], pixels[height // 3 :, width // 3 :]
    return bool(dark.max() < 20 and light.min() > 235)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seven_in_every_format(kind: str, model: Model) -> None:
    """The page's seven is a 7, and gives the same 28 x 28 pixels as its PNG where nothing is lost."""
    image = Image.open(SEVEN_FILE).convert("RGB")
    data = encode(image, kind)
    assert model.read(data).digit == 7
    if kind in {"BMP", "GIF", "TIFF"}:
        assert prepare.read(data, max_pixels=LIMIT) == prepare.read(encode(image, "PNG"), max_pixels=LIMIT)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", KINDS)
def test_modes(kind: str, mode: str) -> None:
    """A black block on white stays black on white in every mode."""
    assert shows_the_sheet(read(encode(sheet().convert(mode), kind)))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", TIFF_MODES)
def test_a_tiff_is_as_its_png(mode: str, compression: str | None) -> None:
    """In every mode and compression that loses nothing, a TIFF has the pixels of the same picture as PNG."""
    image = NOISE.convert("RGB").convert(mode) if mode not in {"LA", "RGBA"} else NOISE.convert(mode)
    expected = image.convert("RGB") if mode in {"CMYK", "YCbCr"} else image
    found = read(encode(image, "TIFF", compression=compression, strip_size=300))
    assert (found == read(encode(expected, "PNG"))).all()


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_a_fax_is_read(compression: str) -> None:
    """One bit a pixel, as scanners and fax machines write it."""
    assert shows_the_sheet(read(encode(sheet().convert("1"), "TIFF", compression=compression)))


def test_a_tiff_in_jpeg_is_read() -> None:
    """As scanners write coloured pages."""
    assert shows_the_sheet(read(encode(sheet(), "TIFF", compression="jpeg", quality=95)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("highest", "unused"), [(255, 0), (1023, 2), (4095, 4), (65_535, 8)])
def test_a_tiff_of_16_bits_keeps_the_highest_in_use(order: str, highest: int, unused: int) -> None:
    """In both orders of bytes, as of a PNG, the 8 highest bits that the picture uses are kept."""
    deep = np.linspace(0, highest, 1200).astype(np.uint16).reshape(30, 40)
    data = files.tiff(files.grey_tiff(40, 30, t258=16, t279=2400), deep.astype(f"{order}u2").tobytes(), order=order)
    assert (read(data) == deep >> unused).all()


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("white", [1, 255, 65_535])
def test_a_tiff_of_floats_is_scaled_by_its_range(white: int, compression: str | None) -> None:
    """Floats from 0 to 1, 255 or 65,535 become the 256 greys."""
    floats = np.linspace(0, white, 1200, dtype=np.float32).reshape(30, 40)
    found = read(encode(Image.fromarray(floats), "TIFF", compression=compression))
    assert np.abs(found - floats * (255 / white)).max() <= 1


@pytest.mark.parametrize(("value", "told"), [(-1.0, "such as -1"), (math.nan, "such as nan"), (1e6, "up to 1e+06")])
def test_numbers_outside_of_any_range_are_refused(value: float, told: str) -> None:
    """Negative, infinite or huge numbers are no pixels."""
    floats = np.full((30, 40), 0.5, np.float32)
    floats[7, 8] = value
    with pytest.raises(NotAPicture, match=told.replace("+", r"\+")):
        read(encode(Image.fromarray(floats), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF", "TIFF", HEIC])
def test_the_first_frame_is_read(kind: str) -> None:
    """Of an animation, a burst or a document of several pages, the first one."""
    others = [sheet("white").transpose(Image.Transpose.ROTATE_180), Image.new("RGB", (400, 200), "black")]
    assert shows_the_sheet(read(encode(sheet(), kind, save_all=True, append_images=others)))


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "TIFF", "AVIF", HEIC])
@pytest.mark.parametrize(("stroke", "ground"), [("black", 255), ("white", 0)])
def test_a_transparent_ground_contrasts_with_the_strokes(kind: str, stroke: str, ground: int) -> None:
    """As in a PNG."""
    image = Image.new("RGBA", (400, 200), (0, 0, 0, 0) if stroke == "white" else (255, 255, 255, 0))
    image.paste(stroke, (0, 0, 100, 50))
    pixels = read(encode(image, kind)).astype(int)
    assert np.abs(pixels[100:] - ground).max() < 20
    assert np.abs(pixels[:40, :80] - (255 - ground)).max() < 20


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "AVIF", HEIC])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_undone(kind: str, orientation: int) -> None:
    """However the phone was held, and whether the format or EXIF says it, the picture comes out upright."""
    image, exif = as_held(sheet(), orientation)
    picture = decode(encode(image, kind, exif=exif), max_pixels=LIMIT)
    assert (picture.width, picture.height) == (400, 200)
    assert shows_the_sheet(picture.pixels)


def test_a_bmp_in_run_lengths_is_read() -> None:
    """As old programs save it."""
    rows = b"\x28\xff\0\0" * 15 + b"\x0a\0\x1e\xff\0\0" * 5 + b"\0\1"
    assert shows_the_sheet(read(files.bmp_in_run_lengths(40, 20, rows)))


@pytest.mark.parametrize("header", ["OS/2", "top down", "16 bits"])
def test_a_bmp_of_any_header_is_read(header: str) -> None:
    """OS/2's short header; rows from the top; and five bits a colour."""
    pixels = np.full((20, 40, 3), 255, np.uint8)
    pixels[:5, :10] = 0
    start = struct.pack("<IhhHH", 12, 40, 20, 1, 24)
    rows = pixels[::-1].tobytes()
    if header != "OS/2":
        bits = 24 if header == "top down" else 16
        start = struct.pack("<IiiHHIIiiII", 40, 40, -20 if bits == 24 else 20, 1, bits, 0, 0, 0, 0, 0, 0)
        rows = pixels.tobytes() if bits == 24 else (pixels[::-1, :, 0] // 255 * np.uint16(0x7FFF)).tobytes()
    data = b"BM" + struct.pack("<IHHI", 14 + len(start) + len(rows), 0, 0, 14 + len(start)) + start + rows
    assert shows_the_sheet(read(data))


def test_a_tiled_tiff_is_read() -> None:
    """As programs for maps and slides write it: tiles go beyond the picture."""
    tile, tags = (
        NOISE.crop((0, 0, 32, 32)),
        files.grey_tiff(40, 30, t322=32, t323=32, t324=(8, 1032), t325=(1024, 1024)),
    )
    tags = {tag: value for tag, value in tags.items() if tag not in {273, 278, 279}}
    data = files.tiff(tags, tile.tobytes() + NOISE.crop((32, 0, 64, 32)).tobytes())
    assert (read(data) == np.asarray(NOISE)).all()


@pytest.mark.parametrize("kind", ["planes", "white is 0", "one strip without its length"])
def test_a_tiff_that_pillow_does_not_write_is_read(kind: str) -> None:
    """Colours in planes of their own; numbers that grow with darkness; and the size of a strip left out."""
    grey, colours = np.asarray(NOISE), np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    if kind == "planes":
        where = {"t273": (8, 1208, 2408), "t279": (1200,) * 3}
        tags = files.grey_tiff(40, 30, t258=(8, 8, 8), t262=2, t277=3, t284=2, **where)
        assert (read(files.tiff(tags, colours.transpose(2, 0, 1).tobytes())) == colours).all()
    elif kind == "white is 0":
        assert (read(files.tiff(files.grey_tiff(40, 30, t262=0), (255 - grey).tobytes())) == grey).all()
    else:
        tags = {tag: value for tag, value in files.grey_tiff(40, 30).items() if tag != 279}
        assert (read(files.tiff(tags, grey.tobytes())) == grey).all()


@pytest.mark.skipif(not WITH_HEIC, reason="the extra `heic` is not installed")
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_heic_of_tiles_is_read(orientation: int) -> None:
    """As iPhones write it: tiles of one size, which reach beyond the picture, turned as a whole."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = sheet() if orientation == 1 else sheet().transpose(Image.Transpose.ROTATE_90)
    data = encode(image, "HEIF", tile_size=64, exif=exif.tobytes())
    assert data.count(b"hvc1") == 28  # tiles, each with an item
    assert shows_the_sheet(read(data))


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_of_pixels(kind: str) -> None:
    """As many pixels as may be are read; of more, the header is enough to refuse them."""
    data = encode(sheet(), kind)
    assert decode(data, max_pixels=80_000).width == 400
    with pytest.raises(TooLarge, match="has 400 x 200 = 80000 pixels; at most 79999 are read") as caught:
        decode(data, max_pixels=79_999)
    assert caught.value.limit == 79_999


def headers(width: int, height: int) -> dict[str, bytes]:
    """Files that claim a size, with little behind it."""
    lossless = struct.pack("<I", width - 1 | height - 1 << 14)
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = struct.pack("<HHHH", 0, 0, 40, 20)
    made = {
        "WebP": b"RIFF\x7f\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + lossless + bytes(99),
        "WebP's canvas": b"RIFF\x7f\0\0\0WEBPVP8X\x0a\0\0\0" + canvas + bytes(99),
        "GIF": files.gif(screen=(width, height)),
        "GIF's frame": files.gif().replace(frame, struct.pack("<HHHH", 0, 0, width, height)),
        "AVIF": files.boxes(width, height),
    }
    for sign in (1, -1):
        header = struct.pack("<IiiHHIIiiII", 40, width, sign * height, 1, 1, 0, 0, 0, 0, 0, 0)
        made[f"BMP of {sign} times its height"] = b"BM" + bytes(12) + header + bytes(99)
    if WITH_HEIC:
        made["HEIC"] = files.boxes(width, height, brand=b"heic", kind=b"hvc1")
    return made


HUGE = headers(16_000, 15_000) | {"TIFF": files.tiff(files.grey_tiff(16_000, 15_000))}
LARGE = headers(7000, 5000) | {"TIFF": encode(Image.new("L", (7000, 5000)), "TIFF", compression="tiff_lzw")}


@pytest.mark.parametrize("name", HUGE)
def test_a_bomb_is_refused_from_its_header(name: str) -> None:
    """A few bytes that claim hundreds of millions of pixels are refused before anything is decoded."""
    with pytest.raises(TooLarge, match="has 16000 x 15000 = 240000000 pixels; at most 40000000 are read"):
        read(HUGE[name])


@pytest.mark.parametrize("name", LARGE)
def test_a_large_picture_is_expensive_where_there_is_little_room(name: str) -> None:
    """It is for the large reader, and nothing of its size is held before."""
    with pytest.raises(Expensive):
        read(LARGE[name], room=0)


def empty_boxes(count: int) -> bytes:
    return b"".join(files.box(b"free", b"") for _ in range(count))


def tiles(count: int) -> dict[str, Any]:
    """A grid of one tile, of 64 x 64, that comes again and again."""
    reference = files.box(b"dimg", struct.pack(">HH", 1, count) + struct.pack(">H", 2) * count)
    return {"kind": b"grid", "references": reference, "items": [(2, b"av01")]}


def strips(count: int) -> bytes:
    tags = files.grey_tiff(5, count, t278=1, t273=(8,) * count, t279=(5,) * count)
    return files.tiff(tags, bytes(5))


def tiled(side: int) -> bytes:
    tags = files.grey_tiff(40, 30, t322=side, t323=side, t324=8, t325=64)
    return files.tiff({tag: value for tag, value in tags.items() if tag not in {273, 278, 279}}, bytes(64))


# The most that is read, and what makes such a file: it may be refused as damaged, but not as too large.
PARTS: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "GIF, blocks": (gif.MAX_BLOCKS - 1, lambda count: files.gif(b"!\xfe" + b"\1x" * (count - 1) + b"\0")),
    "GIF, bytes between blocks": (gif.MAX_BLOCKS - 1, lambda count: files.gif(b"x" * count)),
    "WebP, chunks": (
        webp.MAX_CHUNKS - 4,
        lambda count: encode(NOISE, "WEBP", exif=b"x") + b"JUNK\0\0\0\0" * count,
    ),
    "BMP, pixels in run lengths": (
        bmp.MAX_RUN_LENGTH_PIXELS // 1000,
        lambda count: files.bmp_in_run_lengths(1000, count, b"\0\1"),
    ),
    "BMP, run lengths": (
        bmp.MAX_RUN_LENGTH_PIXELS - 539,
        lambda count: files.bmp_in_run_lengths(40, 20, b"\1\1" * count),
    ),
    "TIFF, tags": (tiff.MAX_TAGS - 9, lambda count: files.tiff(files.grey_tiff(40, 30), bytes(1200), more=count)),
    "TIFF, strips": (tiff.MAX_PARTS, strips),
    "TIFF, pixels of tiles": (1026, tiled),
    "TIFF, values": (
        tiff.MAX_VALUES,
        lambda count: files.tiff(files.grey_tiff(40, 30, t258=(8,) * count), bytes(1200)),
    ),
    "AVIF, boxes": (boxes.MAX_BOXES - 3, lambda count: files.boxes(40, 30, more=empty_boxes(count))),
    "AVIF, items": (boxes.MAX_ITEMS - 1, lambda count: files.boxes(40, 30, items=[(2, b"av01")] * count)),
    "AVIF, pieces": (boxes.MAX_BOXES, lambda count: files.boxes(40, 30, extents=count, more=bytes(99_999))),
    "AVIF, tiles": (boxes.MAX_BOXES, lambda count: files.boxes(40, 30, **tiles(count))),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_limit_of_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its limit a file is read, or refused as damaged; beyond, it is too large, and the error has the limit."""
    for module, constant in ((gif, "BYTES_PER_BLOCK"), (webp, "BYTES_PER_CHUNK"), (tiff, "BYTES_PER_PART")):
        monkeypatch.setattr(module, constant, 2**40)  # a longer file may have more
    most, make = PARTS[name]
    with contextlib.suppress(NotAPicture):
        read(make(most))
    with pytest.raises(TooLarge, match="which is the limit") as caught:
        read(make(most + 1))
    assert f"{caught.value.limit:,}" in caught.value.detail


def test_tiles_that_are_decoded_often_are_too_large() -> None:
    """A grid of one tile, again and again, has the pixels of all of them."""
    data = files.boxes(40, 30, **tiles(1000))
    decode_most = 1000 * 64 * 64 // boxes.MAX_TILED
    with pytest.raises(NotAPicture):
        decode(data, max_pixels=decode_most)
    with pytest.raises(TooLarge, match="tiles have more than"):
        decode(data, max_pixels=decode_most - 1)


@pytest.mark.parametrize("name", ["meta", "pitm", "iinf", "iloc", "iprp"])
def test_tables_that_come_twice_are_damaged(name: str) -> None:
    """Decoders differ in which one they take."""
    data = encode(sheet(), "AVIF")
    assert shows_the_sheet(read(data))
    start = data.index(name.encode()) - 4
    (size,) = struct.unpack_from(">I", data, start)
    twice = data[: start + size] + data[start : start + size] + data[start + size :]
    if name != "meta":
        at = data.index(b"meta") - 4
        longer = struct.unpack_from(">I", data, at)[0] + size
        twice = twice[:at] + struct.pack(">I", longer) + twice[at + 4 :]
    with pytest.raises(NotAPicture, match="damaged"):
        read(twice)


def test_items_that_share_bytes_are_too_large() -> None:
    """A file of a few bytes whose items have them again and again."""
    with pytest.raises(TooLarge, match="items have more than"):
        read(files.boxes(40, 30, extents=1000, shared=99))


@pytest.mark.parametrize("items", [[(2, b"grid")], [(2, b"iden")]])
def test_tiles_of_tiles_are_refused(items: list[tuple[int, bytes]]) -> None:
    """A grid of grids could have any number of tiles."""
    reference = files.box(b"dimg", struct.pack(">HHH", 1, 1, 2)) + files.box(b"dimg", struct.pack(">HHH", 2, 1, 1))
    with pytest.raises(NotAPicture):
        read(files.boxes(40, 30, kind=b"grid", references=reference, items=items))
    with pytest.raises(NotAPicture, match="consists of others"):
        read(files.boxes(40, 30, kind=b"iovl"))


@pytest.mark.parametrize("kind", ["AVIF", HEIC])
def test_only_the_boxes_turn_a_picture(kind: str) -> None:
    """EXIF and XMP, which may contradict them (ISO/IEC 23008-12 annex A), are passed over, as is garbage there."""
    exif = Image.Exif()
    exif[0x0115] = 3  # the next tag but two: encoders move the orientation to the boxes
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientatiom="6"/></x:xmpmeta>'
    data = encode(sheet(), kind, exif=exif.tobytes(), xmp=xmp)
    turned = data.replace(b"Orientatiom", b"Orientation")
    for before, after in ((b"\x01\x15\0\3", b"\x01\x12\0\3"), (b"\x15\x01\3\0", b"\x12\x01\3\0")):
        turned = turned.replace(before, after)
    assert sum(one != other for one, other in zip(data, turned, strict=True)) == 2
    assert shows_the_sheet(read(turned))
    assert shows_the_sheet(read(data.replace(b"MM\0*", b"none").replace(b"II*\0", b"none")))


def test_a_film_without_a_still_picture_is_told() -> None:
    """Of a film, no frame is decoded."""
    with pytest.raises(NotAPicture, match="is a film without a still picture"):
        read(files.box(b"ftyp", b"avis" + bytes(4) + b"avis") + files.box(b"moov", b""))


def test_the_tables_of_a_film_are_not_read() -> None:
    """A sequence whose tables are garbage gives its still picture."""
    data = encode(sheet(), "AVIF", save_all=True, append_images=[sheet("red")])
    at = data.index(b"moov") + 4
    size = struct.unpack_from(">I", data, at - 8)[0] - 8
    assert shows_the_sheet(read(data[:at] + b"\xff" * size + data[at + size :]))


@pytest.mark.parametrize(("number", "name"), [(6, "old JPEG"), (34925, "LZMA"), (50000, "Zstandard"), (9, "number 9")])
def test_a_compression_that_is_not_read_is_named(number: int, name: str) -> None:
    """The error says which are read."""
    with pytest.raises(NotAPicture) as caught:
        read(files.tiff(files.grey_tiff(40, 30, t259=number), bytes(1200)))
    assert caught.value.detail == (
        f"The TIFF's compression is {name}; none, CCITT, fax G3, fax G4, LZW, JPEG, deflate, PackBits are read. "
        "Save it with one of these, or as PNG."
    )


@pytest.mark.parametrize("kind", ["LAB", "24 bits a sample", "BigTIFF"])
def test_a_kind_of_tiff_that_is_not_read_is_named(kind: str) -> None:
    """Rather than called damaged."""
    data, told = files.tiff(files.grey_tiff(40, 30, t258=24, t279=3600), bytes(3600)), "of 24 bits, is not read here"
    if kind == "LAB":
        data, told = encode(sheet().convert("LAB"), "TIFF"), r"of 8 \+ 8 \+ 8 bits, is not read here"
    elif kind == "BigTIFF":
        data, told = encode(sheet(), "TIFF", big_tiff=True), "This is a BigTIFF, which is not read here"
    with pytest.raises(NotAPicture, match=told):
        read(data)


@pytest.mark.parametrize(
    "tags",
    [
        {"t273": 5000},
        {"t273": (8, 600), "t279": (600, 600)},
        {"t279": 5000},
        {"t256": 0},
        {"t257": 0},
        {"t278": 0},
        {"t259": 5, "t279": (1, 1, 1)},
    ],
)
def test_a_tiff_whose_tags_contradict_each_other_is_damaged(tags: dict[str, Any]) -> None:
    """Strips beyond the file, more or fewer strips than rows, sides of 0."""
    with pytest.raises(NotAPicture, match="damaged"):
        read(files.tiff(files.grey_tiff(40, 30, **tags), bytes(1200)))


def test_directories_in_a_circle_end() -> None:
    """Only the first page's directory is read, whatever it says of the next one."""
    data = bytearray(files.tiff(files.grey_tiff(40, 30), NOISE.tobytes()))
    start = struct.unpack_from("<I", data, 4)[0]
    struct.pack_into("<I", data, start + 2 + 12 * 9, start)
    assert (read(bytes(data)) == np.asarray(NOISE)).all()


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("AVIF", {}),
        pytest.param("HEIF", {}, marks=HEIC.marks),
    ],
)
def test_a_file_that_was_cut_off_is_refused(kind: str, options: dict[str, Any], share: float) -> None:
    """Wherever it ends, the missing part is not made up."""
    data = encode(NOISE.convert("RGB"), kind, **options)
    with pytest.raises(NotAPicture):
        read(data[: int(len(data) * share)])


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it passes over
@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_byte_is_refused_or_read(kind: str) -> None:
    """Any byte of a file, changed to any other, ends in pixels or in a refusal (for longer: `make fuzz`)."""
    for mode in ("L", "RGB", "RGBA"):
        for spoilt in with_changed_bytes(encode(NOISE.convert(mode), kind), count=100):
            with contextlib.suppress(ServiceError, Expensive):
                assert read(spoilt, room=10_000_000).dtype == np.uint8


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True, "quality": 0, "method": 0}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw", "strip_size": 10**9}),
        ("TIFF", "YCbCr", {"compression": "tiff_lzw", "strip_size": 10**9}),
        ("TIFF", "F", {"compression": "tiff_lzw", "strip_size": 10**9}),
        ("TIFF", "1", {"compression": "group4", "strip_size": 10**9}),
        ("TIFF", "RGB", {"compression": "jpeg", "strip_size": 10**9}),
        ("AVIF", "RGB", {"speed": 10, "subsampling": "4:4:4"}),
        ("AVIF", "RGBA", {"speed": 10}),
        pytest.param("HEIF", "RGBA", FAST, marks=HEIC.marks),
        pytest.param("HEIF", "RGB", FAST | {"chroma": 444}, marks=HEIC.marks),
    ],
)
def test_a_large_picture_takes_the_memory_that_is_predicted(
    kind: str, mode: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """The peak is at most the prediction, and what a job has beside it."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    image = Image.fromarray(noise).resize((3000, 2250), Image.Resampling.BICUBIC)
    path = tmp_path / "large"
    path.write_bytes(encode(image.convert("L").convert("F") if mode == "F" else image.convert(mode), kind, **options))
    code = f"""
from service.picture import others
from service.picture.decode import decode
from service.picture.opened import Bounds
def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024
needed = []
Bounds.check_memory = lambda self, bytes: needed.append(bytes)
data = open({str(path)!r}, "rb").read()
before = peak()
decode(data, max_pixels={LIMIT})
print(peak() - before, max(needed))
"""
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    taken, predicted = map(int, printed.split())
    assert taken < predicted + 16 * 2**20


def test_the_settings_have_the_formats() -> None:
    """The setting knows the names without importing what reads them."""
    assert list(settings.FORMATS) == list(formats.FORMATS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", *KINDS])
def test_a_format_that_is_off_is_named(kind: str) -> None:
    """And so are those that are read."""
    data = encode(sheet(), kind)
    name = formats.name_of(data)
    read_here = [each for each in ("gif", "bmp", "tiff") if each != name][:2]
    with pytest.raises(NotAPicture) as caught:
        read(data, read=read_here)
    first, second = (formats.FORMATS[each].title for each in read_here)
    called = formats.FORMATS[str(name)].called
    assert caught.value.detail == f"This is {called}, which is not read here; convert it to {first} or {second}."


def test_heic_without_its_extra_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator installs it, or the client converts the picture."""
    monkeypatch.setattr(formats, "HEIC_INSTALLED", False)
    with pytest.raises(NotAPicture) as caught:
        read(files.boxes(40, 30, brand=b"heic", kind=b"hvc1"))
    assert caught.value.detail == (
        "This is a HEIC picture, as iPhones keep them, which needs the extra `heic` (pip install pillow-heif) where "
        "the service runs; convert it to PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF."
    )


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "avif"),
        (b"\0\0\0\x18ftypavis\0\0\0\0", "avif"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", None),
        (b"BM, as some letters begin: hello", None),
        (b"II*\0", "tiff"),
        (b"MM\0+", "tiff"),
        (b"", None),
    ],
)
def test_a_format_is_known_by_its_first_bytes(start: bytes, name: str | None) -> None:
    """Whatever the file is called."""
    assert formats.name_of(start) == name
    assert formats.is_picture(start) == (name is not None)
