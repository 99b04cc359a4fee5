"""From a picture of a digit to what the network reads: `uint8[28, 28]`, light ink on dark, as MNIST stores it.

In: PNG or JPEG bytes, or grey pixels. Out: a `PreparedImage`. `decode` reads the bytes, `segment` finds the digit, and
`mnist_format` brings it into MNIST's format. An image that is in MNIST's format already, or in its negative, keeps its
pixels. It knows no HTTP, network or training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .decode import Picture, decode, require_size
from .formats import PNG
from .mnist_format import SIDE, is_mnist_format, of_strokes
from .segment.digit import find_ink
from .small_png import read_small_grey

if TYPE_CHECKING:
    from ..arrays import Pixels
    from .geometry import Box

# A 28 x 28 picture or nearly so: preparing it costs less than handing it to another process.
QUICK_BYTES, QUICK_PIXELS = 2048, 4096
_DARK = bytes(range(128))
_NEGATIVE = bytes(range(255, -1, -1))


class PreparedImage(NamedTuple):
    """The network's input, and what was done to the picture on the way."""

    rows: bytes  # 784 pixels, light ink on dark
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture that was sent
    ink_ratio: float  # share of the picture's pixels that are ink, 0..1
    box: Box | None = None  # of the digit in the upright picture; None: no ink, or already in MNIST's format
    warnings: tuple[str, ...] = ()  # of "no_ink", "too_faint", "several_shapes"

    @property
    def pixels(self) -> Pixels:
        """The same pixels as uint8[28, 28]."""
        return np.frombuffer(self.rows, np.uint8).reshape(SIDE, SIDE)


def read(data: bytes, *, max_pixels: int, room: int | None = None) -> PreparedImage:
    """Prepare PNG or JPEG bytes; raises `NotAPicture`, `TooLarge` (over `max_pixels`) or `Unusable`.

    Raises `Expensive` for a large picture that takes more than `room` bytes of memory.
    """
    return read_small(data) or _prepare(decode(data, max_pixels=max_pixels, room=room))


def read_small(data: bytes) -> PreparedImage | None:
    """Read a 28 x 28 grey PNG in MNIST's format or its negative; None for all other bytes."""
    rows = read_small_grey(data)
    return None if rows is None else pass_through(rows)


def pass_through(rows: bytes) -> PreparedImage | None:
    """Leave 784 pixels as they are, or invert them, where that is MNIST's format; None for all others."""
    polarity = "light_on_dark"
    if not is_mnist_format(rows):
        rows, polarity = rows.translate(_NEGATIVE), "dark_on_light"
        if not is_mnist_format(rows):
            return None
    return PreparedImage(rows, polarity, len(rows.translate(None, _DARK)) / len(rows))


def is_quick(data: bytes) -> bool:
    """Whether these bytes are a PNG that a millisecond or two prepare, whatever else they hold."""
    few = len(data) <= QUICK_BYTES and data.startswith(PNG) and data[12:16] == b"IHDR"
    return few and int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]) <= QUICK_PIXELS


def prepare(grey: Pixels) -> PreparedImage:
    """Prepare grey pixels, `uint8[H, W]` of either polarity; raises `Unusable` if they are too few."""
    height, width = grey.shape
    require_size(width, height)
    return _prepare(Picture(grey, width, height))


def _prepare(picture: Picture) -> PreparedImage:
    pixels = picture.pixels
    if pixels.shape == (SIDE, SIDE) and (ready := pass_through(pixels.tobytes())):
        return ready
    ink = find_ink(pixels)
    if ink.box is None:
        return PreparedImage(bytes(SIDE * SIDE), ink.polarity, 0.0, None, ink.warnings)
    rows = of_strokes(ink.strokes).tobytes()
    return PreparedImage(rows, ink.polarity, ink.ratio, _sent_box(ink.box, picture), ink.warnings)


def _sent_box(box: Box, picture: Picture) -> Box:
    """The digit's box in the pixels that were sent, of which a big picture was decoded to fewer."""
    left, top, right, bottom = box
    across, down = picture.width / picture.pixels.shape[1], picture.height / picture.pixels.shape[0]
    return (
        int(left * across),
        int(top * down),
        min(picture.width, round(right * across)),
        min(picture.height, round(bottom * down)),
    )
