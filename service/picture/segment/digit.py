"""Ink against paper: where the digit is in a picture, and which pixels are its strokes.

In: upright pixels, `uint8[H, W]` or `uint8[H, W, 3]`. Out: an `Ink`, the digit's strokes cropped. It looks twice: once
at the whole picture, small; then closer, where the digit is, or at the sheet that was taken for it. It does not know
file formats, nor the network's 28 x 28.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .segmentation import SIZE, Box, cropped, look, look_closer

if TYPE_CHECKING:
    from ..decode import Pixels
    from .components import Mask
    from .segmentation import Look

CLOSER = 0.55  # of the look: a digit that is smaller is looked at again from near
MARGIN = 0.3  # of the digit's size: ground around it on the second look
FAINT = 24  # grey levels; less is read, with a warning
SIDES, SHEET = 0.7, 0.2  # so much of each side of its box, and of the picture's longer side, a sheet has
EDGE = 2 / SIZE  # of the picture's longer side: so far from its edge a sheet begins


class Ink(NamedTuple):
    """The digit as found in a picture."""

    strokes: Mask  # bool[h, w], cropped to the digit, at most SIZE pixels long
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture
    ratio: float  # share of the picture's pixels that are the digit's ink
    box: Box | None  # in the picture; None: no ink
    warnings: tuple[str, ...]  # of "no_ink", "too_faint", "several_shapes"


def find_ink(pixels: Pixels) -> Ink:
    """Find the digit; without any ink the box is None and the warnings say `no_ink`."""
    first = look(pixels)
    if first is None:
        return Ink(np.zeros((1, 1), np.bool_), "dark_on_light", 0.0, None, ("no_ink",))
    height, width = pixels.shape[:2]
    whole = 0, 0, width, height
    if _is_sheet(first.digit):
        sheet = _around(first.digit, whole, -EDGE * max(height, width) - 1)
        inside = pixels[sheet[1] : sheet[3], sheet[0] : sheet[2]]
        written = look(inside) if inside.size else None
        if written is not None:
            return _read(pixels, written, sheet)
    return _read(pixels, first, whole)


def _read(pixels: Pixels, first: Look, whole: Box) -> Ink:
    """What a look at the box `whole` found, and a closer one where that is small."""
    found, box = first, _around(first.digit, whole, 0)
    longer = max(box[2] - box[0], box[3] - box[1])
    if longer < CLOSER * max(whole[2] - whole[0], whole[3] - whole[1]):
        near = _around(first.digit, whole, MARGIN * longer + 3)
        second = look_closer(pixels, whole, near, first)
        if second is not None and second.relief.light == first.relief.light:
            found, box = second, _around(second.digit, near, 0)
    warnings = ("too_faint",) * (found.level < FAINT) + ("several_shapes",) * first.rivals
    polarity = "light_on_dark" if first.relief.light else "dark_on_light"
    return Ink(cropped(found.digit), polarity, float(first.digit.mean()), box, warnings)


def _is_sheet(digit: Mask) -> bool:
    """Whether a mask runs along all four sides of its box: a note on a table, a picture in a picture."""
    sheet = cropped(digit)
    sides = min(side.mean() for side in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]))
    return bool(sides > SIDES and min(sheet.shape) > SHEET * max(digit.shape))


def _around(digit: Mask, whole: Box, margin: float) -> Box:
    """The digit's box with a margin, in pixels of the picture, of which the mask shows those in the box `whole`."""
    left, top, right, bottom = whole
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    down, across = (bottom - top) / digit.shape[0], (right - left) / digit.shape[1]
    return (
        max(left, int(left + columns[0] * across - margin)),
        max(top, int(top + rows[0] * down - margin)),
        min(right, int(np.ceil(left + (columns[-1] + 1) * across + margin))),
        min(bottom, int(np.ceil(top + (rows[-1] + 1) * down + margin))),
    )
