"""Prepare a picture of a digit for the network: `uint8[28, 28]`, light ink on dark, as MNIST stores it.

In: a picture's bytes, or grey pixels. Out: a `PreparedImage`. `decode` reads the bytes, `segment` finds the digit, and
`mnist_format` brings it into MNIST's format. An image that is in MNIST's format already, or in its negative, keeps its
pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .decode import Picture, decode
from .formats import FORMATS, PNG
from .limits import check_size
from .mnist_format import SIDE, are_mnist_format, count_each, is_mnist_format, to_mnist_format
from .segment.digit import find_digit
from .small_png import read_small_grey

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..arrays import Pixels
    from .geometry import Box

# A 28 x 28 picture or nearly so: to prepare it costs less than to hand it to another process.
QUICK_BYTES, QUICK_PIXELS = 2048, 4096
_DARK = bytes(range(128))
_NEGATIVE = bytes(range(255, -1, -1))


class PreparedImage(NamedTuple):
    """The network's input, and what was done to the picture on the way."""

    rows: bytes  # 784 pixels, light ink on dark
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture that was sent
    ink_ratio: float  # share of the picture's pixels that are ink, 0..1
    box: Box | None = None  # of the digit in the upright picture; None: no ink, or already in MNIST's format
    warnings: tuple[str, ...] = ()  # of "no_ink", "too_faint", "several_shapes", "cut_off"

    @property
    def pixels(self) -> Pixels:
        """The same pixels as uint8[28, 28]."""
        return np.frombuffer(self.rows, np.uint8).reshape(SIDE, SIDE)

    @property
    def has_ink(self) -> bool:
        """Whether there is ink to read; if not, the network's prediction for these pixels means nothing."""
        return "no_ink" not in self.warnings


class PassedThrough(NamedTuple):
    """Several images in MNIST's format: columns of what a `PreparedImage` of each would be, which cost less."""

    rows: bytes  # n·784 pixels, light ink on dark
    polarities: list[str]
    ink_ratios: list[float]

    def each(self) -> list[PreparedImage]:
        """Return an object for each image."""
        size = SIDE * SIDE
        all_rows = [self.rows[at : at + size] for at in range(0, len(self.rows), size)]
        return list(map(PreparedImage, all_rows, self.polarities, self.ink_ratios))


def read(
    data: bytes, *, max_pixels: int, room: int | None = None, read: Collection[str] = frozenset(FORMATS)
) -> PreparedImage:
    """Prepare a picture of at most `max_pixels`, in one of the formats to `read`.

    Raises `NotAPicture`, `TooLarge` or `Unusable`, and `Expensive` where decoding takes more than `room` bytes.
    """
    ready = read_small(data) if "png" in read else None
    return ready or _prepare(decode(data, max_pixels=max_pixels, room=room, read=read))


def read_small(data: bytes) -> PreparedImage | None:
    """Prepare a 28 x 28 grey PNG in MNIST's format or its negative; None for all other bytes."""
    rows = read_small_grey(data)
    return None if rows is None else pass_through(rows)


def pass_through(rows: bytes) -> PreparedImage | None:
    """Prepare 784 pixels in MNIST's format, which are kept, or in its negative, which is inverted; None for others."""
    polarity = "light_on_dark"
    if not is_mnist_format(rows):
        rows, polarity = rows.translate(_NEGATIVE), "dark_on_light"
        if not is_mnist_format(rows):
            return None
    return PreparedImage(rows, polarity, len(rows.translate(None, _DARK)) / len(rows))


def pass_all_through(rows: bytes) -> PassedThrough | None:
    """As `pass_through`, for n·784 pixels of several images at once; None if one of them is neither."""
    pixels = np.frombuffer(rows, np.uint8).reshape(-1, SIDE * SIDE)
    negative = ~are_mnist_format(pixels)
    if negative.any():
        if not are_mnist_format(255 - pixels[negative]).all():
            return None
        pixels = np.where(negative[:, None], 255 - pixels, pixels)
        rows = pixels.tobytes()
    ink_ratios = (count_each(pixels >= 128) / (SIDE * SIDE)).tolist()
    return PassedThrough(rows, [("light_on_dark", "dark_on_light")[dark] for dark in negative.tolist()], ink_ratios)


def prepare(grey: Pixels) -> PreparedImage:
    """Prepare grey pixels, `uint8[H, W]` of either polarity; raises `Unusable` if they are too few."""
    height, width = grey.shape
    check_size(width, height)
    return _prepare(Picture(grey, width, height))


def is_quick(data: bytes) -> bool:
    """Whether bytes are a PNG that takes a millisecond or two to prepare, whatever it contains."""
    few = len(data) <= QUICK_BYTES and data.startswith(PNG) and data[12:16] == b"IHDR"
    return few and int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]) <= QUICK_PIXELS


def _prepare(picture: Picture) -> PreparedImage:
    pixels = picture.pixels
    if pixels.shape == (SIDE, SIDE) and (ready := pass_through(pixels.tobytes())):
        return ready
    digit = find_digit(pixels)
    if digit.box is None:
        return PreparedImage(bytes(SIDE * SIDE), digit.polarity, 0.0, None, digit.warnings)
    rows = to_mnist_format(digit.strokes).tobytes()
    return PreparedImage(rows, digit.polarity, digit.ink_ratio, _scale(digit.box, picture), digit.warnings)


def _scale(box: Box, picture: Picture) -> Box:
    """Scale a box to the size that was sent, because a large picture was decoded to fewer pixels."""
    left, top, right, bottom = box
    across, down = picture.width / picture.pixels.shape[1], picture.height / picture.pixels.shape[0]
    return (
        int(left * across),
        int(top * down),
        min(picture.width, round(right * across)),
        min(picture.height, round(bottom * down)),
    )
