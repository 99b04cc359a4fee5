"""Decoding with `service.picture.decode.decode`: formats, modes, orientation, limits, damage."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service.errors import NotAPicture, ServiceError, TooLarge, Unusable
from service.picture import formats
from service.picture.decode import decode
from service.picture.small_png import read_all_small_grey, read_small_grey
from tests.support.formats import as_held
from tests.support.hostile_bodies import jpeg_of_scans, with_changed_bytes
from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pictures import Digits

LIMIT = 40_000_000


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corner(mode: str = "RGB") -> Image.Image:
    """A white 40 x 20 sheet with a black block in its upper left corner."""
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 10, 5))
    return image.convert(mode)


def header_only_png(width: int, height: int, colour: int = 0) -> bytes:
    """A few bytes whose header says that they are a PNG of this size and colour type."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(4000))) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P", "LA", "RGBA", "I;16"])
def test_png_of_every_mode_shows_the_same_picture(mode: str) -> None:
    """A black block on white stays black on white in every mode a PNG can have; what has only grey stays grey."""
    image = Image.fromarray(np.asarray(corner("L")).astype(np.uint16) * 257) if mode == "I;16" else corner(mode)
    pixels = decode(encode(image), max_pixels=LIMIT).pixels
    assert pixels.shape == ((20, 40) if mode in {"L", "1", "I;16"} else (20, 40, 3))
    assert pixels[:5, :10].max() <= 2
    assert pixels[6:, 11:].min() >= 253


@pytest.mark.parametrize(("largest", "empty"), [(255, 0), (256, 1), (4095, 4), (32768, 8), (65535, 8)])
def test_deep_grey_keeps_its_highest_bits(largest: int, empty: int) -> None:
    """Of 16 bits, the 8 highest that the picture uses are kept: a camera's 12 bits do not become a dark picture."""
    deep = np.linspace(0, largest, 800).astype(np.uint16).reshape(20, 40)
    assert (decode(encode(Image.fromarray(deep)), max_pixels=LIMIT).pixels == deep >> empty).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_large_png_costs_little_more_than_its_pixels(mode: str, tmp_path: Path) -> None:
    """In any mode the picture is held once, with at most four bytes for each pixel."""
    side = 5000
    image = Image.fromarray(np.zeros((side, side), np.uint16)) if mode == "I;16" else Image.new(mode, (side, side))
    path = tmp_path / "large.png"
    image.save(path, transparency=0) if mode == "P" else image.save(path)
    code = f"""
from service.picture import formats
from service.picture.decode import decode
def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
data = open({str(path)!r}, "rb").read()
before = peak()
decode(data, max_pixels={LIMIT})
print(peak() - before)
"""
    kibibytes = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(kibibytes.stdout) * 1024 < 5 * side * side


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_mode_shows_the_same_picture(mode: str) -> None:
    """A black block on white stays black on white in every mode a JPEG can have."""
    pixels = decode(encode(corner(mode), "JPEG", quality=95), max_pixels=LIMIT).pixels
    assert pixels[1:4, 1:8].max() <= 40
    assert pixels[8:, 16:].min() >= 240


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_phone_is_undone(orientation: int) -> None:
    """However the phone was held, the picture comes out upright, with its upright size."""
    image, exif = as_held(corner(), orientation)
    picture = decode(encode(image, "JPEG", quality=95, exif=exif), max_pixels=LIMIT)
    assert (picture.width, picture.height) == (40, 20)
    assert picture.pixels[1:4, 1:8].max() <= 40
    assert picture.pixels[8:, 16:].min() >= 240


def test_orientation_in_a_png_is_undone_too() -> None:
    """EXIF in a PNG has the same effect as EXIF in a JPEG."""
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode(corner().transpose(Image.Transpose.ROTATE_180), exif=exif.tobytes())
    assert decode(data, max_pixels=LIMIT).pixels[:5, :10].max() == 0


@pytest.mark.parametrize("kind", ["JPEG with XMP", "PNG with XMP", "PNG with ImageMagick's EXIF"])
def test_orientation_is_undone_wherever_it_stands(kind: str) -> None:
    """XMP, and EXIF as text, turn a picture like EXIF does."""
    turned = corner().transpose(Image.Transpose.ROTATE_180)
    xmp = '<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    texts, exif = PngInfo(), Image.Exif()
    exif[0x0112] = 3
    raw = exif.tobytes()
    if kind == "JPEG with XMP":
        data = encode(turned, "JPEG", quality=95, xmp=xmp.encode())
    else:
        if "XMP" in kind:
            texts.add_itxt("XML:com.adobe.xmp", xmp)
        else:
            texts.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
        data = encode(turned, pnginfo=texts)
    assert decode(data, max_pixels=LIMIT).pixels[1:4, 1:8].max() <= 40


def test_unreadable_exif_does_not_spoil_a_good_picture() -> None:
    """Garbage in EXIF is ignored; the picture is not rotated."""
    data = encode(corner(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff garbage")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode(data, max_pixels=LIMIT).pixels.shape == (20, 40, 3)


def test_multi_picture_file_of_a_phone_gives_its_first_picture() -> None:
    """An MPO, which phones save as .jpg, is read like a JPEG: the first frame, without the others."""
    data = encode(corner(), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 20), "red")], quality=95)
    assert decode(data, max_pixels=LIMIT).pixels[1:4, 1:8].max() <= 40


@pytest.mark.parametrize(("stroke", "ground"), [("black", 255), ("white", 0)])
def test_transparent_ground_contrasts_with_the_strokes(stroke: str, ground: int) -> None:
    """Strokes on a transparent background are put on a background that shows them."""
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste(stroke, (0, 0, 10, 5))
    pixels = decode(encode(image), max_pixels=LIMIT).pixels
    assert (pixels[10:] == ground).all()
    assert (pixels[:5, :10] == 255 - ground).all()


@pytest.mark.parametrize(("opaque", "grey", "ground"), [(0.5, 127, 255), (0.5, 128, 0), (0.6, 127, 0), (0.6, 128, 255)])
def test_the_ground_goes_by_half_the_picture_and_middle_grey(opaque: float, grey: int, ground: int) -> None:
    """At most half is opaque: strokes, whose background contrasts. More is opaque: a sheet, which continues."""
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste((grey, grey, grey, 255), (0, 0, round(40 * opaque), 20))
    assert (decode(encode(image), max_pixels=LIMIT).pixels[:, -1] == ground).all()


def test_round_corners_of_an_opaque_sheet_stay_paper() -> None:
    """A mostly opaque white sheet with transparent corners is white to the corners."""
    image = corner().convert("RGBA")
    image.putpixel((39, 19), (0, 0, 0, 0))
    assert (decode(encode(image), max_pixels=LIMIT).pixels[19, 39] == 255).all()


def test_palette_with_a_transparent_colour_is_read() -> None:
    """A palette PNG with transparency, as design programs save it, keeps its strokes."""
    image = corner("L").convert("P")
    pixels = decode(encode(image, transparency=255), max_pixels=LIMIT).pixels
    assert pixels[:5, :10].max() <= 2
    assert pixels[10:].min() >= 253


def test_bomb_is_refused_from_its_header() -> None:
    """A PNG of a few kB that claims 50,000 x 50,000 pixels is refused before anything is decoded, quoting the limit."""
    with pytest.raises(TooLarge) as caught:
        decode(header_only_png(50_000, 50_000), max_pixels=LIMIT)
    assert caught.value.members() == {
        "status": 413,
        "reason": "too_many_pixels",
        "detail": "The picture has 50000 x 50000 = 2500000000 pixels; at most 40000000 are read. "
        "Send it smaller: 300 x 300 is plenty for a digit.",
        "limit": LIMIT,
    }


def test_as_many_pixels_as_may_be_are_read() -> None:
    """A picture of exactly the limit is read, with both readers."""
    for image in (Image.new("L", (10, 6)), corner()):
        pixels = image.width * image.height
        assert decode(encode(image), max_pixels=pixels).width == image.width
        with pytest.raises(TooLarge):
            decode(encode(image), max_pixels=pixels - 1)


def test_a_jpeg_of_many_scans_is_refused_at_its_limit() -> None:
    """A hundred scans are read, and more are refused."""
    others = jpeg_of_scans(40, 1).count(b"\xff\xda") - 1
    decode(jpeg_of_scans(40, 100 - others), max_pixels=LIMIT)
    with pytest.raises(TooLarge) as caught:
        decode(jpeg_of_scans(40, 101 - others), max_pixels=LIMIT)
    assert caught.value.detail == "The JPEG has 101 scans; at most 100 are read."
    assert caught.value.limit == 100


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_what_looks_like_scans_is_none_in_a_plain_jpeg(mode: str) -> None:
    """Nothing is read after the one scan of a sequential JPEG, so scans are not counted there."""
    assert decode(encode(corner(mode), "JPEG") + 101 * b"\xff\xda", max_pixels=LIMIT).width == 40


@pytest.mark.parametrize("size", [(1, 1), (1, 100), (4, 4)])
def test_picture_too_small_for_a_digit_says_the_minimum(size: tuple[int, int]) -> None:
    """One pixel is readable, but is no digit: the error says how many are needed."""
    with pytest.raises(Unusable) as caught:
        decode(encode(Image.new("L", size)), max_pixels=LIMIT)
    assert caught.value.members() == {
        "status": 422,
        "reason": "too_small",
        "detail": f"The picture is {size[0]} x {size[1]} pixels; a digit needs at least 2 x 5.",
        "limit": 5,
    }


@pytest.mark.parametrize("size", [(2, 5), (5, 2)])
def test_the_smallest_picture_is_read(size: tuple[int, int]) -> None:
    """A picture of exactly the minimum is read, upright or lying."""
    assert decode(encode(Image.new("RGB", size)), max_pixels=LIMIT).pixels.shape[1::-1] == size


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
DAMAGED = {
    "empty": b"",
    "text": b"hello, I am a picture",
    "text as PNG": b"\x89PNG\r\n\x1a\nhello, I am a picture",
    "text as JPEG": b"\xff\xd8\xffhello, I am a picture",
    "half a PNG": encode(NOISE)[: len(encode(NOISE)) // 2],
    "PNG without its last chunk": encode(NOISE)[:-12],
    "half a JPEG": encode(NOISE, "JPEG")[:1500],
    "PNG with a flipped bit": encode(NOISE)[:500] + b"\x00\xff\x00" + encode(NOISE)[503:],
    "PNG of another size than its header": header_only_png(1000, 1000),
    "PNG of palette colours without a palette": header_only_png(28, 28, colour=3),
}


ADVICE = {
    f"The bytes are no picture that is read here; send {formats.titles(formats.FORMATS)}.",
    "The picture's header is damaged; export it again as PNG or JPEG.",
    "The picture is damaged or was cut off on its way; export it again, and send the whole file.",
    "The PNG was cut off before its end; send the whole file.",
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_and_foreign_bytes_are_refused_with_advice(data: bytes) -> None:
    """Anything but a complete PNG or JPEG is refused with a sentence, never with a traceback."""
    with pytest.raises(NotAPicture) as caught:
        decode(data, max_pixels=LIMIT)
    assert caught.value.detail in ADVICE


@pytest.mark.parametrize(("data", "name"), [(encode(corner(), "PDF"), "a PDF"), (b"<svg/>", "XML, as an SVG is")])
def test_a_document_of_another_format_is_told_by_its_name(data: bytes, name: str) -> None:
    """The error names the format, so that nobody has to guess."""
    with pytest.raises(NotAPicture) as caught:
        decode(data, max_pixels=LIMIT)
    assert caught.value.detail == f"This is {name}, which is not read here; convert it to PNG or JPEG."


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *(("PNG", mode) for mode in ("L", "RGB", "1", "P", "LA", "RGBA")),
        *(("JPEG", mode) for mode in ("L", "RGB", "CMYK")),
    ],
)
@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it passes over
def test_a_changed_byte_is_refused_or_read(kind: str, mode: str) -> None:
    """Any byte of a file, changed to any other, ends in pixels or in a refusal (for longer: `make fuzz`)."""
    for spoilt in with_changed_bytes(encode(corner(mode), kind), count=100):
        with contextlib.suppress(ServiceError):
            assert decode(spoilt, max_pixels=LIMIT).pixels.dtype == np.uint8


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("size", [(28, 28), (27, 28), (28, 29), (64, 64)])
def test_small_grey_png_is_the_same_by_both_ways(size: tuple[int, int], level: int, digits: Digits) -> None:
    """The reader of 28 x 28 grey PNGs returns the same pixels as `decode`, and refuses the same damage."""
    noise = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    for pixels in [noise, np.zeros(size, np.uint8), *(digits.images[:20] if size == (28, 28) else [])]:
        data = encode(Image.fromarray(pixels), compress_level=level)
        short = read_small_grey(data)
        assert (short is not None) == (size == (28, 28))
        assert short is None or short == pixels.tobytes()
        picture = decode(data, max_pixels=LIMIT)
        assert (picture.pixels == pixels).all()
        assert (picture.height, picture.width) == size
    for at in range(8, len(data) - 12):
        assert read_small_grey(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]) is None
    for length in range(8, len(data) - 12):
        assert read_small_grey(data[:length] + data[-12:]) is None


def test_several_small_pngs_are_read_as_one_by_one(digits: Digits) -> None:
    """Their pixels follow each other; one that is damaged, or another picture, leaves all to the long way."""
    pngs = [encode(Image.fromarray(pixels)) for pixels in digits.images[:20]]
    assert read_all_small_grey(pngs) == digits.images[:20].tobytes()
    for other in (encode(Image.fromarray(np.zeros((28, 29), np.uint8))), pngs[3][:-20] + pngs[3][-12:], b""):
        assert read_all_small_grey([*pngs[:7], other, *pngs[7:]]) is None


def test_small_png_whose_pixels_break_off_is_left_to_the_long_way() -> None:
    """A picture with right checksums is refused if its data is short, is not deflate, or has an unknown filter."""

    def png(rows: bytes) -> bytes:
        return header_only_png(28, 28).replace(_chunk(b"IDAT", zlib.compress(bytes(4000))), _chunk(b"IDAT", rows))

    whole = bytes(29 * 28)
    assert read_small_grey(png(zlib.compress(whole))) is not None
    for rows in (b"", b"no deflate", zlib.compress(whole)[:-20], zlib.compress(whole[:-1]), zlib.compress(b"\7" * 812)):
        assert read_small_grey(png(rows)) is None
        with pytest.raises(NotAPicture):
            decode(png(rows), max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("size", "read"),
    [
        ((999, 40), (999, 40)),  # of a JPEG, each side is halved while the longer one stays over 500
        ((1000, 40), (500, 20)),
        ((40, 1000), (20, 500)),
        ((1999, 40), (1000, 20)),
        ((2000, 40), (500, 10)),
        ((4000, 3000), (500, 375)),
        ((4100, 7), (1025, 2)),  # but not below a pixel
        ((7, 4100), (2, 1025)),
        ((4000, 2), (1000, 1)),
    ],
)
def test_big_photo_is_decoded_small(size: tuple[int, int], read: tuple[int, int]) -> None:
    """A JPEG of any shape is decoded to no more pixels than needed, and keeps the size that was sent."""
    picture = decode(encode(Image.new("RGB", size, "white"), "JPEG"), max_pixels=LIMIT)
    assert picture.pixels.shape[1::-1] == read
    assert (picture.width, picture.height) == size


@pytest.mark.parametrize(
    ("size", "read"), [((1999, 20), (1999, 20)), ((2000, 20), (1000, 10)), ((20, 3100), (7, 1034))]
)
def test_big_png_is_made_small(size: tuple[int, int], read: tuple[int, int]) -> None:
    """A large PNG is reduced by a whole factor to 1,000 pixels or a little more, by averaging."""
    left_half = Image.new("L", size, 200)
    left_half.paste(100, (0, 0, size[0] // 2, size[1]))
    picture = decode(encode(left_half), max_pixels=LIMIT)
    assert picture.pixels.shape[::-1] == read
    assert (picture.width, picture.height) == size
    assert picture.pixels[:, 0].tolist() == [100] * read[1]
    assert picture.pixels[:, -1].tolist() == [200] * read[1]
