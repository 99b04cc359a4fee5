"""Ink against paper: which pixels of a picture are the digit.

In: upright pixels, `uint8[H, W]` or `uint8[H, W, 3]`. Out: an `Ink`, the digit cropped, light on dark. It does not know
file formats, nor the network's 28 x 28.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from service.picture import Pixels


class Ink(NamedTuple):
    """The digit as found in a picture."""

    digit: Pixels  # uint8[h, w], light on dark, cropped to the digit
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture
    ratio: float  # share of the picture's pixels that are ink
    box: tuple[int, int, int, int] | None  # left, top, right, bottom in the picture; None: no ink
    warnings: tuple[str, ...]  # of "no_ink", "too_faint", "several_shapes"


NO_DIGIT = np.zeros((1, 1), np.uint8)
MIN_CONTRAST = 8  # grey levels; less is the noise of a camera or a decoder


def find_ink(pixels: Pixels) -> Ink:
    """Find the digit; without any ink the box is None and the warnings say `no_ink`."""
    grey = pixels.astype(np.float32) if pixels.ndim == 2 else pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    ring = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground = float(np.median(ring))
    light = bool(grey.max() - ground > ground - grey.min())
    polarity = "light_on_dark" if light else "dark_on_light"
    strength = np.clip(grey - ground if light else ground - grey, 0, 255)
    peak = float(strength.max())
    if peak < MIN_CONTRAST:
        return Ink(NO_DIGIT, polarity, 0.0, None, ("no_ink",))
    inked = strength > peak / 2
    rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    digit = (strength[top:bottom, left:right] * (255 / peak)).astype(np.uint8)
    return Ink(digit, polarity, float(inked.mean()), (left, top, right, bottom), ())
