"""From a picture of a digit to what the network reads: `uint8[28, 28]`, light ink on dark, as MNIST stores it.

In: PNG or JPEG bytes, or grey pixels. Out: a `Prepared`. The way: `picture` decodes, `ink` tells ink from paper, and
here the digit is fitted into 20 x 20 pixels and its centre of mass put in the middle, as LeCun did
(yann.lecun.com/exdb/mnist). What is in MNIST's own form passes unchanged. It knows no HTTP, network or training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from service.errors import Unusable
from service.ink import find_ink
from service.picture import MIN_SIDE, Picture, Pixels, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 28  # pixels of the network's input
DIGIT_SIDE = 20  # pixels of the digit's longer side in it


class Prepared(NamedTuple):
    """What the network will see, and what was done to the picture on the way."""

    pixels: Pixels  # uint8[28, 28], light ink on dark
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture that was sent
    ink_ratio: float  # share of the picture's pixels that are ink, 0..1
    box: tuple[int, int, int, int] | None  # left, top, right, bottom in the upright picture; None: no ink, or unchanged
    warnings: tuple[str, ...]  # of "no_ink", "too_faint", "several_shapes"


def read(data: bytes, *, max_pixels: int) -> Prepared:
    """Prepare PNG or JPEG bytes; raises `NotAPicture`, `TooLarge` (over `max_pixels`) or `Unusable`."""
    return _prepare(decode(data, max_pixels=max_pixels))


def prepare(grey: Pixels) -> Prepared:
    """Prepare grey pixels, `uint8[H, W]` of either polarity; raises `Unusable` if they are too few."""
    height, width = grey.shape
    if min(height, width) < MIN_SIDE:
        raise Unusable(
            f"The picture is {width} x {height} pixels; a digit needs at least {MIN_SIDE} x {MIN_SIDE}.",
            reason="too_small",
            limit=MIN_SIDE,
        )
    return _prepare(Picture(grey, width, height))


def is_mnist_form(pixels: Pixels) -> NDArray[np.bool_]:
    """Which of `uint8[N, 28, 28]` are in MNIST's own form: bool[N].

    As measured over all 70,000 digits: the box of non-zero pixels has a longer side of 19 or 20, the centre of mass is
    within 13.48..14.50 on both axes, at least 55 % of the pixels are exactly 0, and the lightest is at least 254.
    """
    inked = pixels != 0
    rows, columns = inked.any(2), inked.any(1)  # bool[N, 28]
    longer = np.maximum(_extent(rows), _extent(columns))
    sums_y, sums_x = pixels.sum(2, dtype=np.int64), pixels.sum(1, dtype=np.int64)  # int64[N, 28]
    mass = np.maximum(sums_y.sum(1), 1)
    steps = np.arange(SIDE)
    fits = (longer == DIGIT_SIDE) | (longer == DIGIT_SIDE - 1)
    for sums in (sums_y, sums_x):
        centre = sums @ steps / mass
        fits &= (centre > 13.48) & (centre < 14.501)
    zeros = SIDE * SIDE - inked.sum((1, 2))
    return np.asarray(fits & (zeros >= 0.55 * SIDE * SIDE) & (pixels.max((1, 2)) >= 254), np.bool_)


def _extent(used: NDArray[np.bool_]) -> NDArray[np.int64]:
    """From the first used to the last of each row, bool[N, 28] → int64[N]; nonsense for rows without any."""
    return np.asarray(SIDE - used.argmax(1) - used[:, ::-1].argmax(1))


def _prepare(picture: Picture) -> Prepared:
    pixels = picture.pixels
    if pixels.shape == (SIDE, SIDE) and is_mnist_form(pixels[None])[0]:
        return Prepared(pixels, "light_on_dark", np.count_nonzero(pixels > 127) / pixels.size, None, ())
    ink = find_ink(pixels)
    if ink.box is None:
        return Prepared(np.zeros((SIDE, SIDE), np.uint8), ink.polarity, 0.0, None, ink.warnings)
    return Prepared(_centred(_fitted(ink.digit)), ink.polarity, ink.ratio, _sent_box(ink.box, picture), ink.warnings)


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


def _fitted(digit: Pixels) -> Pixels:
    """The cropped digit with its longer side at 20 pixels, by area averaging, its darkest stroke at full ink."""
    height, width = digit.shape
    shrink = DIGIT_SIDE / max(height, width)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    fitted = np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BOX)).astype(np.float32)
    return np.asarray(fitted * (255 / max(1.0, float(fitted.max()))), np.float32).round().astype(np.uint8)


def _centred(digit: Pixels) -> Pixels:
    """On a 28 x 28 ground with the centre of mass at (14, 14) to half a pixel, as far as the border lets it."""
    height, width = digit.shape
    mass = float(digit.sum())
    top = round(14 - float(digit.sum(1) @ np.arange(height)) / mass)
    left = round(14 - float(digit.sum(0) @ np.arange(width)) / mass)
    top, left = min(max(top, 0), SIDE - height), min(max(left, 0), SIDE - width)
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    canvas[top : top + height, left : left + width] = digit
    return canvas
