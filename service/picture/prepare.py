"""From a picture of a digit to what the network reads: `uint8[28, 28]`, light ink on dark, as MNIST stores it.

In: PNG or JPEG bytes, or grey pixels. Out: a `Prepared`. The way: `picture` decodes, `ink` tells ink from paper, and
here the digit is fitted into 20 x 20 pixels and its centre of mass put in the middle, as LeCun did
(yann.lecun.com/exdb/mnist). What is in MNIST's own form, or its negative, passes as it is. It knows no HTTP, network or
training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .decode import Picture, Pixels, decode, require_size
from .formats import PNG
from .mnist_format import SIDE, in_mnist_form, of_strokes, seems_mnist_form
from .segment.digit import find_ink
from .small_png import read_small_grey

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Glanced", "Pixels", "Prepared", "glance", "is_quick", "prepare", "read", "unchanged"]

# A 28 x 28 picture or nearly so: preparing it costs less than handing it to another process.
QUICK_BYTES, QUICK_PIXELS = 2048, 4096
_DARK = bytes(range(128))
_NEGATIVE = bytes(range(255, -1, -1))


class Prepared(NamedTuple):
    """What the network will see, and what was done to the picture on the way."""

    pixels: Pixels  # uint8[28, 28], light ink on dark
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture that was sent
    ink_ratio: float  # share of the picture's pixels that are ink, 0..1
    box: tuple[int, int, int, int] | None  # left, top, right, bottom in the upright picture; None: no ink, or unchanged
    warnings: tuple[str, ...]  # of "no_ink", "too_faint", "several_shapes"


class Glanced(NamedTuple):
    """What seems to be in MNIST's own form, and is to pass as it is if it is: as `Prepared`, without NumPy's costs."""

    pixels: bytes  # 784, light ink on dark
    polarity: str
    ink_ratio: float
    warnings: tuple[str, ...] = ()


def glance(rows: bytes | None) -> Glanced | None:
    """What seems to be in MNIST's own form, or its negative, of 784 pixels; `form.in_mnist_form` has the last word."""
    if rows is None:
        return None
    polarity = "light_on_dark"
    if not seems_mnist_form(rows):
        rows, polarity = rows.translate(_NEGATIVE), "dark_on_light"
        if not seems_mnist_form(rows):
            return None
    return Glanced(rows, polarity, len(rows.translate(None, _DARK)) / len(rows))


def read(data: bytes, *, max_pixels: int, room: int | None = None) -> Prepared:
    """Prepare PNG or JPEG bytes; raises `NotAPicture`, `TooLarge` (over `max_pixels`) or `Unusable`.

    Raises `Expensive` for a large picture that takes more bytes than there is `room` for.
    """
    return _whole(read_small_grey(data)) or _prepare(decode(data, max_pixels=max_pixels, room=room))


def is_quick(data: bytes) -> bool:
    """Whether these bytes are a PNG that a millisecond or two prepare, whatever else they hold."""
    few = len(data) <= QUICK_BYTES and data.startswith(PNG) and data[12:16] == b"IHDR"
    return few and int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]) <= QUICK_PIXELS


def prepare(grey: Pixels) -> Prepared:
    """Prepare grey pixels, `uint8[H, W]` of either polarity; raises `Unusable` if they are too few."""
    height, width = grey.shape
    require_size(width, height)
    return _prepare(Picture(grey, width, height))


def unchanged(glanced: Sequence[Glanced | None]) -> list[Prepared | None]:
    """What is in MNIST's own form, light on dark; None for what only seemed so."""
    seen = [one for one in glanced if one is not None]
    images = np.frombuffer(b"".join([one.pixels for one in seen]), np.uint8).reshape(-1, SIDE, SIDE)
    found = (
        Prepared(pixels, one.polarity, one.ink_ratio, None, one.warnings) if whole else None
        for one, pixels, whole in zip(seen, images, in_mnist_form(images), strict=True)
    )
    return [None if one is None else next(found) for one in glanced]


def _prepare(picture: Picture) -> Prepared:
    pixels = picture.pixels
    if pixels.shape == (SIDE, SIDE) and (whole := _whole(pixels.tobytes())):
        return whole
    ink = find_ink(pixels)
    if ink.box is None:
        return Prepared(np.zeros((SIDE, SIDE), np.uint8), ink.polarity, 0.0, None, ink.warnings)
    return Prepared(of_strokes(ink.strokes), ink.polarity, ink.ratio, _sent_box(ink.box, picture), ink.warnings)


def _whole(rows: bytes | None) -> Prepared | None:
    seen = glance(rows)
    return None if seen is None else unchanged([seen])[0]


def _sent_box(box: tuple[int, int, int, int], picture: Picture) -> tuple[int, int, int, int]:
    """The digit's box in the pixels that were sent, of which a big picture was decoded to fewer."""
    left, top, right, bottom = box
    across, down = picture.width / picture.pixels.shape[1], picture.height / picture.pixels.shape[0]
    return (
        int(left * across),
        int(top * down),
        min(picture.width, round(right * across)),
        min(picture.height, round(bottom * down)),
    )
