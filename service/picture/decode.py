"""Decode a picture to upright pixels: `uint8[H, W]` grey, or `uint8[H, W, 3]` RGB where it has colours.

In: bytes that a client sent. Out: a `Picture`. It knows formats, modes, transparency and orientation; it does not know
ink, digits or networks. `others` opens what is neither PNG nor JPEG.
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
from .opened import Bounds, Expensive, Opened

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

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
# All errors of Pillow's openers for damaged bytes; it asserts that a picture in palette colours has a palette.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, AssertionError, struct.error,
    zlib.error, RuntimeError,
)  # fmt: skip
_MAX_PIXELS = 178_956_970  # of formats other than PNG and JPEG, which Pillow itself refuses beyond that


class Picture(NamedTuple):
    """Upright pixels, and the upright size that was sent, before any reduction."""

    pixels: Pixels  # uint8[H, W] or uint8[H, W, 3]
    width: int
    height: int


def decode(
    data: bytes, *, max_pixels: int, room: int | None = None, read: Collection[str] = frozenset(formats.FORMATS)
) -> Picture:
    """Decode a picture of at most `max_pixels`, in one of the formats to `read`; of several frames or pages, the first.

    Raises `NotAPicture` for other formats and damage, `TooLarge` for too many pixels or parts, `Unusable` for too few
    pixels, and `Expensive` where decoding takes more than `room` bytes of memory.
    """
    name = formats.name_of(data)
    if name is None or not formats.is_readable(name, read):
        raise formats.refusal(data, read)
    openers = {"png": _open_png, "jpeg": _open_jpeg}
    image, orientation = openers.get(name, _open_other)(data, Bounds(max_pixels, room))
    limits.check_size(*image.size)
    try:
        return _load(image, data, orientation)
    except _DAMAGE as error:
        raise _damaged() from error


def _open_png(data: bytes, bounds: Bounds) -> Opened:
    limits.check_chunks(data)
    return _open(PngImageFile, data, bounds)


def _open_jpeg(data: bytes, bounds: Bounds) -> Opened:
    limits.check_segments(data)
    return _open(JpegImageFile, data, bounds)  # reads the first frame of an MPO and ignores the others


def _open(opener: Callable[[io.BytesIO], ImageFile.ImageFile], data: bytes, bounds: Bounds) -> Opened:
    """Read the header with Pillow's openers themselves, because `Image.open` warns of bombs through global state."""
    try:
        image = opener(io.BytesIO(data))
    except _DAMAGE as error:
        raise NotAPicture("The picture's header is damaged; export it again as PNG or JPEG.") from error
    bounds.check_pixels(*image.size)
    if bounds.room is not None and limits.decoder_memory(image, data) > bounds.room:
        raise Expensive
    return Opened(image)


def _open_other(data: bytes, bounds: Bounds) -> Opened:
    from .others import OPENERS  # noqa: PLC0415 - its decoders are loaded in readers, and not in workers

    try:
        return OPENERS[str(formats.name_of(data))](
            data, bounds._replace(max_pixels=min(bounds.max_pixels, _MAX_PIXELS))
        )
    except _DAMAGE as error:
        raise _damaged() from error


def _damaged() -> NotAPicture:
    return NotAPicture("The picture is damaged or was cut off on its way; export it again, and send the whole file.")


def _load(image: ImageFile.ImageFile, data: bytes, orientation: int | None) -> Picture:
    width, height = image.size
    if isinstance(image, JpegImageFile):
        limits.check_scans(image, data)
        # One block: the decoder copies the rest of each block before the next one, which is quadratic for fill bytes.
        image.decodermaxblock = len(data)
        # The decoder itself halves the picture up to three times, as long as it stays larger than the size asked for.
        shrink = max(width, height) // (WORK_SIDE // 2) or 1
        image.draft(image.mode, (width // shrink or 1, height // shrink or 1))
    elif isinstance(image, PngImageFile) and b"IEND" not in data[-64:] and b"IEND" not in data:
        raise NotAPicture("The PNG was cut off before its end; send the whole file.")
    image.load()
    plain = _convert(image)
    transpose = _orientation(image) if orientation is None else _TRANSPOSES.get(orientation)
    if transpose is not None:
        plain = plain.transpose(transpose)
    if transpose in _SIDEWAYS:
        width, height = height, width
    return Picture(np.asarray(plain), width, height)


def _convert(image: Image.Image) -> Image.Image:
    """Convert any mode to L or RGB, and reduce what is larger than needed."""
    if image.mode == "F":
        unit = _unit(image)
        return _reduce(image, lambda band: Image.fromarray((np.asarray(band) * (255 / unit)).astype(np.uint8)))
    if image.mode.startswith("I"):
        unused = max(0, int(_extremes(image)[1]).bit_length() - 8)
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
    """Keep the highest 8 bits of deep grey, or of the bits in use, where a camera leaves the highest ones 0."""
    deep = np.asarray(image)  # uint16[H, W] or int32[H, W]
    return Image.fromarray((deep >> unused).astype(np.uint8))


def _unit(image: Image.Image) -> float:
    """Return the number that stands for white in a picture of floats, which its file does not say."""
    highest = _extremes(image)[1]
    for unit in (1, 255, 65_535):
        if highest <= unit:
            return unit
    raise NotAPicture(f"The picture's numbers go up to {highest:g}; scale them to 0 to 1, or to 0 to 255.")


def _extremes(image: Image.Image) -> tuple[float, float]:
    """Return the lowest and the highest number; raises `NotAPicture` for negative ones, and for what is no number."""
    if image.mode == "I;16":
        return image.getextrema()  # type: ignore[return-value]  # one band has two numbers
    width, height = image.size
    extremes = [
        (band.min(), band.max())
        for top in range(0, height, BAND_ROWS)
        for band in [np.asarray(image.crop((0, top, width, min(height, top + BAND_ROWS))))]
    ]
    lowest, highest = (float(number) for number in (np.min(extremes), np.max(extremes)))
    if not 0 <= lowest <= highest:
        raise NotAPicture(f"The picture has numbers such as {lowest:g}; they are from 0 to 1, or from 0 to 255.")
    return lowest, highest


def _composite(image: Image.Image) -> Image.Image:
    """Put a transparent picture on a background that shows it: a similar one if it is mostly opaque, else a contrast.

    A sheet with round corners is mostly opaque; strokes are not.
    """
    alpha = np.asarray(image.getchannel("A"))
    if alpha.min() == 255 or alpha.max() == 0:
        return image.convert("RGB")
    opaque = float(alpha.mean()) / 255
    # Whole numbers, summed without copies of eight bytes a pixel.
    weighted = np.einsum("ij,ij->", np.asarray(image.convert("L")), alpha, dtype=np.int64)
    visible = float(weighted / alpha.sum(dtype=np.int64))
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
