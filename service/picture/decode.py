"""Decode a PNG or JPEG to upright pixels: `uint8[H, W]` grey, or `uint8[H, W, 3]` RGB where it has colours.

In: bytes that a client sent. Out: a `Picture`. It knows formats, modes, transparency and orientation; it does not know
ink, digits or networks.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ..errors import NotAPicture
from . import formats, limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..arrays import Pixels

WORK_SIDE = 1000  # pixels; no digit needs more, and a JPEG of any size is decoded directly to about this
BAND_ROWS = 32  # rows of the reduced picture that are made at a time
PngImagePlugin.MAX_TEXT_MEMORY = 2 * 2**20  # bytes of all texts of a PNG; Pillow's own limit is 64 MiB
# Pillow warns of what it ignores in EXIF, with the values in the text: each would be printed, and remembered for ever.
warnings.filterwarnings("ignore", module=r"PIL\.")
_ORIENTATION = 0x0112  # EXIF tag
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TRANSPOSES[value] for value in (5, 6, 7, 8)}
# All errors of Pillow's two openers for damaged bytes; it asserts that a picture in palette colours has a palette.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AssertionError, struct.error,
    zlib.error,
)  # fmt: skip


class Expensive(Exception):
    """Decoding a picture takes more memory than is allowed here."""


class Picture(NamedTuple):
    """Upright pixels, and the upright size that was sent, before any reduction."""

    pixels: Pixels  # uint8[H, W] or uint8[H, W, 3]
    width: int
    height: int


def decode(data: bytes, *, max_pixels: int, room: int | None = None) -> Picture:
    """Decode a PNG or JPEG (the first frame of a phone's MPO) of at most `max_pixels`.

    Raises `NotAPicture` for other formats and damage, `TooLarge` for too many pixels or parts, `Unusable` for too few
    pixels, and `Expensive` where decoding takes more than `room` bytes of memory.
    """
    image = _open(data)
    limits.check_pixels(*image.size, max_pixels)
    limits.check_size(*image.size)
    if room is not None and limits.decoder_memory(image, data) > room:
        raise Expensive
    try:
        return _load(image, data)
    except _DAMAGE as error:
        raise NotAPicture(
            "The picture is damaged or was cut off on its way; export it again, and send the whole file."
        ) from error


def _open(data: bytes) -> ImageFile.ImageFile:
    """Read the header with Pillow's openers themselves, because `Image.open` warns of bombs through global state."""
    opener: Callable[[io.BytesIO], ImageFile.ImageFile]
    if data.startswith(formats.PNG):
        limits.check_chunks(data)
        opener = PngImageFile
    elif data.startswith(formats.JPEG):
        limits.check_segments(data)
        opener = JpegImageFile  # reads the first frame of an MPO and ignores the others
    else:
        raise formats.unsupported(data) or NotAPicture(
            "The bytes are neither a PNG nor a JPEG; convert the picture to one of these."
        )
    try:
        return opener(io.BytesIO(data))
    except _DAMAGE as error:
        raise NotAPicture("The picture's header is damaged; export it again as PNG or JPEG.") from error


def _load(image: ImageFile.ImageFile, data: bytes) -> Picture:
    width, height = image.size
    if isinstance(image, JpegImageFile):
        limits.check_scans(image, data)
        # One block: the decoder copies the rest of each block before the next one, which is quadratic for fill bytes.
        image.decodermaxblock = len(data)
        # The decoder itself halves the picture up to three times, as long as it stays larger than the size asked for.
        shrink = max(width, height) // (WORK_SIDE // 2) or 1
        image.draft(image.mode, (width // shrink or 1, height // shrink or 1))
    elif b"IEND" not in data[-64:] and b"IEND" not in data:
        raise NotAPicture("The PNG was cut off before its end; send the whole file.")
    image.load()
    plain = _convert(image)
    transpose = _orientation(image)
    if transpose is not None:
        plain = plain.transpose(transpose)
    if transpose in _SIDEWAYS:
        width, height = height, width
    return Picture(np.asarray(plain), width, height)


def _convert(image: Image.Image) -> Image.Image:
    """Convert any mode to L or RGB, and reduce what is larger than needed."""
    if image.mode.startswith("I"):
        unused = max(0, int(image.getextrema()[1]).bit_length() - 8)  # type: ignore[arg-type]  # one band has a number
        return _reduce(image, lambda band: _to_8_bits(band, unused))
    if image.has_transparency_data:
        return _composite(_reduce(image, lambda band: band.convert("RGBA")))
    mode = {"L": "L", "1": "L"}.get(image.mode, "RGB")
    return _reduce(image, lambda band: band.convert(mode))


def _reduce(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert and reduce a picture band by band, so that no second picture of its size is held beside it."""
    factor = max(image.size) // WORK_SIDE
    if factor <= 1:
        return convert(image)
    width, height = image.size
    bands = [
        convert(image.crop((0, top, width, min(height, top + BAND_ROWS * factor)))).reduce(factor)
        for top in range(0, height, BAND_ROWS * factor)
    ]
    reduced = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for number, band in enumerate(bands):
        reduced.paste(band, (0, number * BAND_ROWS))
    return reduced


def _to_8_bits(image: Image.Image, unused: int) -> Image.Image:
    """Keep the highest 8 bits of 16-bit grey, or of the bits in use, where a camera leaves the highest ones 0."""
    deep = np.asarray(image)  # uint16[H, W]
    return Image.fromarray((deep >> unused).astype(np.uint8))


def _composite(image: Image.Image) -> Image.Image:
    """Put a transparent picture on a background that shows it: a similar one if it is mostly opaque, else a contrast.

    A sheet with round corners is mostly opaque; strokes are not.
    """
    alpha = np.asarray(image.getchannel("A"))
    if alpha.min() == 255 or alpha.max() == 0:
        return image.convert("RGB")
    opaque = float(alpha.mean()) / 255
    visible = float(np.average(np.asarray(image.convert("L")), weights=alpha))
    dark = visible < 128 if opaque > 0.5 else visible >= 128
    background = Image.new("RGBA", image.size, "black" if dark else "white")
    return Image.alpha_composite(background, image).convert("RGB")


def _orientation(image: ImageFile.ImageFile) -> Image.Transpose | None:
    """The transpose that undoes the camera's orientation; unreadable EXIF is no reason to refuse a picture."""
    if not {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"} & image.info.keys():
        return None
    try:
        return _TRANSPOSES.get(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGE:
        return None
