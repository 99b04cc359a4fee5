"""MNIST's own form: 28 x 28, light on dark, the digit 20 pixels long with its centre of mass in the middle.

In: a digit's strokes, `bool[h, w]`. Out: `uint8[28, 28]`, as LeCun made MNIST (yann.lecun.com/exdb/mnist) and with
strokes about as thick as there. It does not know where the strokes came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .segment.morphology import thicken, thin

if TYPE_CHECKING:
    from .decode import Pixels
    from .segment.components import Mask

SIDE = 28  # pixels of the network's input
DIGIT_SIDE = 20  # pixels of the digit's longer side in it
THINNEST, THICKEST = 2.5, 3.6  # pixels of a stroke; half of MNIST's are within
_Y, _X = np.divmod(np.arange(SIDE * SIDE), SIDE)
# float32[784, 3]: takes pixels to their sum, and to its moments down and across.
_MOMENTS = np.stack([np.ones(SIDE * SIDE), _Y, _X], 1).astype(np.float32)


def seems_mnist_form(rows: bytes) -> bool:
    """Whether 784 pixels may be in MNIST's own form, by what their bytes tell at little cost.

    As measured over all 70,000 digits: the lightest pixel is at least 254, and at least 55 % of them are exactly 0.
    This is on every small picture's way, where each call of NumPy costs more than the decoder.
    """
    if b"\xff" not in rows and b"\xfe" not in rows:
        return False
    return rows.count(0) >= 0.55 * SIDE * SIDE and _used(rows) <= DIGIT_SIDE


def in_mnist_form(images: Pixels) -> list[bool]:
    """Whether pictures `uint8[n, 28, 28]` that seem to be in MNIST's own form are.

    As measured over all 70,000 digits: the box of non-zero pixels has a longer side of 19 or 20, and the centre of mass
    is within 13.48..14.50 on both axes.
    """
    rows, columns = images.tobytes(), np.bitwise_or.reduce(images, 1).tobytes()
    moments = images.reshape(-1, SIDE * SIDE).astype(np.float32) @ _MOMENTS  # exact
    return [
        DIGIT_SIDE - 1
        <= max(_used(rows[at * SIDE * SIDE : (at + 1) * SIDE * SIDE]), _across(columns[at * SIDE : (at + 1) * SIDE]))
        <= DIGIT_SIDE
        and abs(down - 13.99 * mass) < 0.511 * mass
        and abs(across - 13.99 * mass) < 0.511 * mass
        for at, (mass, down, across) in enumerate(moments.tolist())
    ]


def _used(pixels: bytes) -> int:
    """How many rows there are from the first to the last that is not all zeros; pixels are, somewhere."""
    first = len(pixels) - len(pixels.lstrip(b"\0"))
    return (len(pixels.rstrip(b"\0")) - 1) // SIDE - first // SIDE + 1


def _across(columns: bytes) -> int:
    """How many columns there are from the first to the last that is not zero."""
    return len(columns.strip(b"\0"))


def of_strokes(strokes: Mask) -> Pixels:
    """Strokes, cropped to the digit, in MNIST's form."""
    return _centred(_fitted(_like_mnist(strokes)))


def thickness(strokes: Mask) -> float:
    """Mean thickness of strokes in pixels: twice the area over the outline, whose length Crofton's crossings give."""
    padded = np.pad(strokes, 1)
    crossings = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    return 2 * np.count_nonzero(strokes) / max(1.0, crossings * np.pi / 4)


def _like_mnist(strokes: Mask) -> Mask:
    """Thicker or thinner, where a stroke would be out of MNIST's range at 20 pixels."""
    unit = max(strokes.shape) / DIGIT_SIDE
    thick = thickness(strokes) / unit
    if thick < THINNEST:
        return _cropped(thicken(strokes, (THINNEST - thick) / 2 * unit))
    if thick > THICKEST:
        thinner = thin(strokes, (thick - THICKEST) / 2 * unit)
        return _cropped(thinner) if thinner.any() else strokes
    return strokes


def _cropped(mask: Mask) -> Mask:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fitted(strokes: Mask) -> Pixels:
    """The longer side at 20 pixels, by area averaging."""
    height, width = strokes.shape
    shrink = DIGIT_SIDE / max(height, width)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    fitted = np.asarray(Image.fromarray(strokes.astype(np.float32)).resize(size, Image.Resampling.BOX))
    return (fitted * (255 / max(1e-3, float(fitted.max())))).round().astype(np.uint8)


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
