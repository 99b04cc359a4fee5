"""From the bytes of a PNG or JPEG to upright pixels: `uint8[H, W]` grey, or `uint8[H, W, 3]` RGB where it has colours.

In: bytes that somebody sent. Out: a `Picture`. It knows formats, header limits, modes, transparency and orientation;
it does not know what ink is, nor digits, nor networks.
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

from ..errors import NotAPicture, TooLarge, Unusable
from . import containers, formats

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..arrays import Pixels

MIN_SHORT, MIN_LONG = 2, 5  # pixels of the sides: a 1 cut out of small print
WORK_SIDE = 1000  # pixels; no digit needs more, and a JPEG of any size decodes straight to about this
LARGE = 8_000_000  # pixels: a picture of more that is held whole while it is decoded takes much memory
BAND_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # of a pixel, as Pillow holds it; 4 in other modes
COEFFICIENT_BYTES = 2  # of each component's pixel, as libjpeg holds it until the last scan
BAND = 32  # rows of the reduced picture that are made at once
MAX_SCANS = 100  # of a JPEG: a progressive one has about ten, and each goes over the whole picture
SCANNED = 1_000_000_000  # pixels of all scans together: some seconds
PngImagePlugin.MAX_TEXT_MEMORY = 2 * 2**20  # bytes of all texts of a PNG; Pillow itself lets them grow to 64 MiB
# What Pillow passes over in EXIF, in ever other words: each would be lines on stderr, and be remembered for ever.
warnings.filterwarnings("ignore", module=r"PIL\.")
_ORIENTATION = 0x0112  # EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[value] for value in (5, 6, 7, 8)}
# All that Pillow's two openers raise on damaged bytes; it asserts that a picture in palette colours has a palette.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AssertionError, struct.error,
    zlib.error,
)  # fmt: skip


class Expensive(Exception):
    """A picture that takes more memory than there is room for."""


class Picture(NamedTuple):
    """Upright pixels, `uint8[H, W]` or `uint8[H, W, 3]`, and the upright size that was sent, before any reduction."""

    pixels: Pixels
    width: int
    height: int


def decode(data: bytes, *, max_pixels: int, room: int | None = None) -> Picture:
    """Decode PNG or JPEG (the first frame of a phone's MPO) of at most `max_pixels`, read from the header.

    Raises `NotAPicture` for other formats and damage, `TooLarge` over `max_pixels`, `Unusable` for too few, and
    `Expensive` for a large picture that takes more bytes than there is `room` for.
    """
    opener = _opener(data)
    (containers.check_png if opener is PngImageFile else containers.check_jpeg)(data)
    try:
        image = opener(io.BytesIO(data))
    except _DAMAGE as error:
        raise NotAPicture("The picture's header is damaged; export it again as PNG or JPEG.") from error
    _check_size(*image.size, max_pixels)
    if room is not None and _held(image, data) > room:
        raise Expensive
    try:
        return _upright(image, data)
    except _DAMAGE as error:
        raise NotAPicture(
            "The picture is damaged or was cut off on its way; export it again, and send the whole file."
        ) from error


def _opener(data: bytes) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """Pillow's opener for these bytes; called directly, because `Image.open` warns of bombs through global state."""
    if data.startswith(formats.PNG):
        return PngImageFile
    if data.startswith(formats.JPEG):
        return JpegImageFile  # reads the first frame of an MPO and leaves the others alone
    raise formats.refusal(data) or NotAPicture(
        "The bytes are neither a PNG nor a JPEG; convert the picture to one of these."
    )


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooLarge(
            f"The picture has {width} x {height} = {width * height} pixels; at most {max_pixels} are read. "
            "Send it smaller: 300 x 300 is plenty for a digit.",
            reason="too_many_pixels",
            limit=max_pixels,
        )
    require_size(width, height)


def _held(image: ImageFile.ImageFile, data: bytes) -> int:
    """Bytes of a large picture that is held whole while it is decoded, as a JPEG of one scan is not; else 0."""
    pixels = image.width * image.height
    if pixels <= LARGE:
        return 0
    if not isinstance(image, JpegImageFile):
        return pixels * BAND_BYTES.get(image.mode, 4)
    if _has_one_scan(image, data):
        return 0
    most = max((across * down for _, across, down, _ in image.layer), default=1)
    return sum(pixels * across * down * COEFFICIENT_BYTES // max(1, most) for _, across, down, _ in image.layer)


def _has_one_scan(image: JpegImageFile, data: bytes) -> bool:
    """Whether a JPEG's first scan is sequential and of all components: after such a one libjpeg takes no others."""
    assert image.fp is not None
    size = 6 + 2 * image.layers
    head = data[image.fp.tell() - size - 2 :][:5]  # Pillow has read up to the end of the first scan's header
    return head == b"\xff\xda" + size.to_bytes(2) + bytes([image.layers]) and "progressive" not in image.info


def _check_scans(image: JpegImageFile, data: bytes) -> None:
    """Refuse a JPEG of too many scans, or of too many over so many pixels."""
    if _has_one_scan(image, data):
        return
    scans = data.count(b"\xff\xda")
    limit = min(MAX_SCANS, SCANNED // (image.width * image.height))
    if scans > limit:
        raise TooLarge(f"The JPEG has {scans:,} scans; at most {limit} are read.", limit=limit)


def require_size(width: int, height: int) -> None:
    """Raise `Unusable` for a picture that is too small for any digit."""
    if min(width, height) < MIN_SHORT or max(width, height) < MIN_LONG:
        raise Unusable(
            f"The picture is {width} x {height} pixels; a digit needs at least {MIN_SHORT} x {MIN_LONG}.",
            reason="too_small",
            limit=MIN_LONG,
        )


def _upright(image: ImageFile.ImageFile, data: bytes) -> Picture:
    width, height = image.size
    if isinstance(image, JpegImageFile):
        _check_scans(image, data)
        # All at once: what the decoder leaves of a piece is put before the next one, which is quadratic for fill bytes.
        image.decodermaxblock = len(data)
        # The decoder itself halves the picture up to three times, as long as it stays over the size asked for.
        shrink = max(width, height) // (WORK_SIDE // 2) or 1
        image.draft(image.mode, (width // shrink or 1, height // shrink or 1))
    elif b"IEND" not in data[-64:] and b"IEND" not in data:
        raise NotAPicture("The PNG was cut off before its end; send the whole file.")
    image.load()
    plain = _plain(image)
    turn = _turn(image)
    if turn is not None:
        plain = plain.transpose(turn)
    if turn in _SIDEWAYS:
        width, height = height, width
    return Picture(np.asarray(plain), width, height)


def _plain(image: Image.Image) -> Image.Image:
    """Any mode as L or RGB, no larger than needed."""
    if image.mode.startswith("I"):
        empty = max(0, int(image.getextrema()[1]).bit_length() - 8)  # type: ignore[arg-type]  # one band has a number
        return _reduced(image, lambda band: _eight_bits(band, empty))
    if image.has_transparency_data:
        return _composite(_reduced(image, lambda band: band.convert("RGBA")))
    mode = {"L": "L", "1": "L"}.get(image.mode, "RGB")
    return _reduced(image, lambda band: band.convert(mode))


def _reduced(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The picture converted, and no larger than needed: band by band, so that nothing as large lies beside it."""
    factor = max(image.size) // WORK_SIDE
    if factor <= 1:
        return convert(image)
    width, height = image.size
    bands = [
        convert(image.crop((0, top, width, min(height, top + BAND * factor)))).reduce(factor)
        for top in range(0, height, BAND * factor)
    ]
    whole = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for number, band in enumerate(bands):
        whole.paste(band, (0, number * BAND))
    return whole


def _eight_bits(image: Image.Image, empty: int) -> Image.Image:
    """The high byte of 16-bit grey; of its used range, where cameras leave the `empty` high bits unused."""
    deep = np.asarray(image)  # uint16[H, W]
    return Image.fromarray((deep >> empty).astype(np.uint8))


def _composite(image: Image.Image) -> Image.Image:
    """Put a transparent picture on the ground that shows it: its own where it is mostly opaque, else the contrast."""
    alpha = np.asarray(image.getchannel("A"))
    if alpha.min() == 255 or alpha.max() == 0:
        return image.convert("RGB")
    opaque = float(alpha.mean()) / 255
    visible = float(np.average(np.asarray(image.convert("L")), weights=alpha))
    # A sheet with round corners is mostly opaque, and goes on a ground like itself; strokes go on what contrasts.
    dark_ground = visible < 128 if opaque > 0.5 else visible >= 128
    ground = Image.new("RGBA", image.size, "black" if dark_ground else "white")
    return Image.alpha_composite(ground, image).convert("RGB")


def _turn(image: ImageFile.ImageFile) -> Image.Transpose | None:
    """What undoes the camera's orientation; EXIF that can't be read is no reason to refuse a picture that can."""
    if not {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"} & image.info.keys():
        return None
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGE:
        return None
