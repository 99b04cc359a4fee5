"""From a picture of a digit to what the network reads: `uint8[28, 28]`, light ink on dark, as MNIST stores it.

In: PNG or JPEG bytes, or grey pixels. Out: a `Prepared`. The way: `picture` decodes, `ink` tells ink from paper, and
here the digit is fitted into 20 x 20 pixels and its centre of mass put in the middle, as LeCun did
(yann.lecun.com/exdb/mnist). What is in MNIST's own form passes unchanged. It knows no HTTP, network or training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from service.form import SIDE, is_mnist_form, of_strokes
from service.ink import find_ink
from service.picture import Picture, Pixels, decode, require_size
from service.small_png import read_small_grey

__all__ = ["Pixels", "Prepared", "is_mnist_form", "prepare", "read", "unchanged"]


class Prepared(NamedTuple):
    """What the network will see, and what was done to the picture on the way."""

    pixels: Pixels  # uint8[28, 28], light ink on dark
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture that was sent
    ink_ratio: float  # share of the picture's pixels that are ink, 0..1
    box: tuple[int, int, int, int] | None  # left, top, right, bottom in the upright picture; None: no ink, or unchanged
    warnings: tuple[str, ...]  # of "no_ink", "too_faint", "several_shapes"


def read(data: bytes, *, max_pixels: int) -> Prepared:
    """Prepare PNG or JPEG bytes; raises `NotAPicture`, `TooLarge` (over `max_pixels`) or `Unusable`."""
    return unchanged(data) or _prepare(decode(data, max_pixels=max_pixels))


def prepare(grey: Pixels) -> Prepared:
    """Prepare grey pixels, `uint8[H, W]` of either polarity; raises `Unusable` if they are too few."""
    height, width = grey.shape
    require_size(width, height)
    return _prepare(Picture(grey, width, height))


def unchanged(picture: bytes | Pixels) -> Prepared | None:
    """What is in MNIST's own form already, a small PNG or `uint8[28, 28]`, as it is; None for everything else."""
    pixels = read_small_grey(picture) if isinstance(picture, bytes) else picture
    if pixels is None or pixels.shape != (SIDE, SIDE) or not is_mnist_form(pixels):
        return None
    return Prepared(pixels, "light_on_dark", np.count_nonzero(pixels > 127) / pixels.size, None, ())


def _prepare(picture: Picture) -> Prepared:
    pixels = picture.pixels
    if whole := unchanged(pixels):
        return whole
    ink = find_ink(pixels)
    if ink.box is None:
        return Prepared(np.zeros((SIDE, SIDE), np.uint8), ink.polarity, 0.0, None, ink.warnings)
    return Prepared(of_strokes(ink.strokes), ink.polarity, ink.ratio, _sent_box(ink.box, picture), ink.warnings)


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
