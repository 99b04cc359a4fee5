"""MNIST's format: 28 x 28, light on dark, the digit 20 pixels long with its centre of mass in the middle.

In: a digit's strokes, `bool[h, w]`, or an image. Out: `uint8[28, 28]` as LeCun made MNIST (yann.lecun.com/exdb/mnist),
with strokes about as thick; or whether the image is in this format. It does not know where the strokes come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .geometry import crop, thickness
from .segment.morphology import thicken, thin

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..arrays import Mask, Pixels

SIDE = 28  # pixels of the network's input
DIGIT_SIDE = 20  # pixels of the digit's longer side in it
MIN_DARK = 0.55 * SIDE * SIDE  # pixels that are exactly 0
CENTRE, MAX_OFF_CENTRE = 13.99, 0.511  # pixels, on both axes: where the centre of mass is, and how far from it at most
THINNEST, THICKEST = 2.5, 3.6  # pixels of a stroke; half of MNIST's are within
_ROW_BITS = 8 * SIDE
_ROW = 2**_ROW_BITS - 1  # all bits of the last row
# All bits but those of the 20 columns in the middle.
_MARGINS = int.from_bytes((b"\xff" * 4 + bytes(DIGIT_SIDE) + b"\xff" * 4) * SIDE)
_FOLDS = tuple(_ROW_BITS * count for count in (14, 7, 4, 2, 1))  # bits; together they reach over 28 rows
_Y, _X = np.divmod(np.arange(SIDE * SIDE), SIDE)
# float32[784, 3]: maps pixels to their sum, and to their moments down and across.
_MOMENTS = np.stack([np.ones(SIDE * SIDE), _Y, _X], 1).astype(np.float32)
_ONES, _PLACES = np.ones(SIDE, np.float32), np.arange(SIDE, dtype=np.float32)


def is_mnist_format(rows: bytes) -> bool:
    """Whether 784 pixels, light on dark, are in MNIST's format.

    As measured over all 70,000 digits: the lightest pixel is at least 254, at least 55 % are exactly 0, the box of
    non-zero pixels has a longer side of 19 or 20, and the centre of mass is within 13.48..14.50 on both axes.

    Cheap checks come first, because each call of NumPy costs as much time as all methods of `bytes` here together.
    """
    if (b"\xff" not in rows and b"\xfe" not in rows) or rows.count(0) < MIN_DARK:
        return False
    height, bits = _height(rows), int.from_bytes(rows)
    # A digit as high as it may be, within the columns in the middle, is no wider than that.
    longer = height if height >= DIGIT_SIDE - 1 and not bits & _MARGINS else max(height, _width(bits))
    if not DIGIT_SIDE - 1 <= longer <= DIGIT_SIDE:
        return False
    mass, down, across = np.frombuffer(rows, np.uint8).astype(np.float32).dot(_MOMENTS).tolist()  # exact
    off = MAX_OFF_CENTRE * mass
    return bool(abs(down - CENTRE * mass) < off and abs(across - CENTRE * mass) < off)


def are_mnist_format(pixels: Pixels) -> Mask:
    """As `is_mnist_format`, of several images uint8[n,784] at once: bool[n], for a fifth of its time each."""
    right: Mask = (np.maximum.reduce(pixels, 1) >= 254) & (count_each(pixels == 0) >= MIN_DARK)
    # Matrix products sum ten times as fast as NumPy's reductions over axes this short.
    floats = pixels.astype(np.float32)
    rows = floats.reshape(-1, SIDE).dot(_ONES).reshape(-1, SIDE)  # float32[n,28], exact
    columns = _ONES @ floats.reshape(-1, SIDE, SIDE)
    longer = np.maximum(_extents(rows != 0), _extents(columns != 0))
    right &= (longer >= DIGIT_SIDE - 1) & (longer <= DIGIT_SIDE)
    mass = rows.dot(_ONES)
    off = MAX_OFF_CENTRE * mass
    right &= (abs(rows.dot(_PLACES) - CENTRE * mass) < off) & (abs(columns.dot(_PLACES) - CENTRE * mass) < off)
    return right


def count_each(pixels: Mask) -> NDArray[np.int64]:
    """Return how many of each image's 784 pixels are true: eight at a time, since a sum of 98 bits fits into a byte."""
    sums: NDArray[np.int64] = pixels.view(np.uint64).sum(1).view(np.uint8).reshape(-1, 8).sum(1)
    return sums


def _extents(used: Mask) -> NDArray[np.int64]:
    """Return the length from the first to the last true value, of bool[n,28]; 28 where none is."""
    extents: NDArray[np.int64] = SIDE - used.argmax(1) - used[:, ::-1].argmax(1)
    return extents


def _height(rows: bytes) -> int:
    """The number of rows from the first to the last with a pixel that is not 0; at least one is not."""
    first = len(rows) - len(rows.lstrip(b"\0"))
    return (len(rows.rstrip(b"\0")) - 1) // SIDE - first // SIDE + 1


def _width(bits: int) -> int:
    """The number of columns from the first to the last with a pixel that is not 0: all rows are folded into one."""
    for reach in _FOLDS:
        bits |= bits >> reach
    return len((bits & _ROW).to_bytes(SIDE).strip(b"\0"))


def to_mnist_format(strokes: Mask) -> Pixels:
    """Bring strokes, cropped to the digit, into MNIST's format."""
    return _centre(_fit(_adjust_thickness(strokes)))


def _adjust_thickness(strokes: Mask) -> Mask:
    """Thicken or thin strokes that would be outside MNIST's range at 20 pixels."""
    unit = max(strokes.shape) / DIGIT_SIDE
    thick = thickness(strokes) / unit
    if thick < THINNEST:
        return crop(thicken(strokes, (THINNEST - thick) / 2 * unit))
    if thick > THICKEST:
        thinner = thin(strokes, (thick - THICKEST) / 2 * unit)
        return crop(thinner) if thinner.any() else strokes
    return strokes


def _fit(strokes: Mask) -> Pixels:
    """Resize the longer side to 20 pixels by area averaging; the lightest pixel becomes 255."""
    height, width = strokes.shape
    shrink = DIGIT_SIDE / max(height, width)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    fitted = np.asarray(Image.fromarray(strokes.astype(np.float32)).resize(size, Image.Resampling.BOX))
    return (fitted * (255 / max(1e-3, float(fitted.max())))).round().astype(np.uint8)


def _centre(digit: Pixels) -> Pixels:
    """Put the centre of mass at (14, 14) of 28 x 28 pixels, to half a pixel, as far as the border allows."""
    height, width = digit.shape
    mass = float(digit.sum())
    top = round(14 - float(digit.sum(1) @ np.arange(height)) / mass)
    left = round(14 - float(digit.sum(0) @ np.arange(width)) / mass)
    top, left = min(max(top, 0), SIDE - height), min(max(left, 0), SIDE - width)
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    canvas[top : top + height, left : left + width] = digit
    return canvas
