"""Ink against paper: where the digit is in a picture, and which pixels are its strokes.

In: upright pixels, `uint8[H, W]` or `uint8[H, W, 3]`. Out: an `Ink`, the digit's strokes cropped. It looks twice: once
at the whole picture, small; then closer, where the digit is, or at the sheet that was taken for it. It does not know
file formats, nor the network's 28 x 28.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ..geometry import cropped, thickness
from .background import FINEST, WIDEST, narrow, relief, strokes
from .morphology import dilate_square, label
from .selection import fills_its_box, sort_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Colours, Labels, Mask, Pixels
    from ..geometry import Box
    from .background import Relief

SIZE = 120  # pixels of the longer side at which a picture is looked at; strokes are then 2 to 18 wide
SMALLEST = 84  # smaller pictures are enlarged to this, so that strokes have smooth edges
MIN_CONTRAST = 6  # grey levels; less is rounding, or the noise of a camera or a decoder
CERTAIN, POSSIBLE = 0.5, 0.3  # of the ink's level: ink for certain; and ink if certain ink is connected to it
EDGE, REACH = 0.45, 3  # of the strongest ink within so many pixels of a look, up to the ink's level: a stroke's edge
TRACE = 0.15  # of the ink's level: in this a line of the paper is followed
OVER_NOISE = 4.8  # deviations of the ground's noise that ink must stand out
THINNER = 2 / 3  # of the thickness of what was found: strokes among sheets, thumbs and shadows are thinner than these

PEELS = 3  # looks at one relief, each without what was foreign in the one before
SAME = 0.85  # of the level before: what is as strong after peeling was seen as it is
DIGIT = 0.12  # of the picture's longer side: what is smaller and comes out only after peeling is dirt
CLOSER = 0.55  # of the look: a digit that is smaller is looked at again from near
MARGIN = 0.3  # of the digit's size: ground around it on the second look
FAINT = 24  # grey levels; less is read, with a warning
SIDES, SHEET = 0.7, 0.2  # so much of each side of its box, and of the picture's longer side, a sheet has
SHEET_EDGE = 2 / SIZE  # of the picture's longer side: so far from its edge a sheet begins


class Look(NamedTuple):
    """What one look at pixels finds, at the size of the look."""

    digit: Mask  # bool[h, w]
    others: Mask  # bool[h, w]: ink that is none of the digit's
    rivals: bool  # whether other shapes beside the digit may be digits as well
    level: float  # contrast of the ink, grey levels
    relief: Relief  # in which the ink was found


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
        sheet = _around(first.digit, whole, -SHEET_EDGE * max(height, width) - 1)
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


def look(pixels: Pixels) -> Look | None:
    """Look at pixels. Where nothing is found, or what may be a sheet, a thumb or a shadow, look for strokes alone."""
    colours = _resized(pixels)
    found = _look_at(relief(colours))
    if found is not None and (found.relief.reach or not _may_be_ground(found)):
        return found
    seen = strokes(colours, (*FINEST, WIDEST))
    finer = None if seen is None else _look_at(seen)
    if found is None or finer is None:
        return found or finer
    # A piece of a shadow that strokes enclose may be as thin as they are; the shadow as a whole is not.
    thick = max(thickness(found.digit), thickness(found.digit | found.others))
    return finer if thickness(finer.digit) < THINNER * thick else found


def look_closer(pixels: Pixels, whole: Box, near: Box, first: Look) -> Look | None:
    """Look at the pixels in `near` in the way of the first look, at `whole`, and past what it saw beside the digit."""
    colours = _resized(pixels[near[1] : near[3], near[0] : near[2]])
    before, size = first.relief, max(whole[2] - whole[0], whole[3] - whole[1])
    reach = before.reach * size / max(near[2] - near[0], near[3] - near[1])
    seen = narrow(colours, min(reach, WIDEST), light=before.light) if before.reach else relief(colours)
    rows, columns = (
        _places(near[at] - whole[at], near[at + 2] - whole[at], count) * seen_then // (whole[at + 2] - whole[at])
        for at, count, seen_then in zip((1, 0), colours.shape, first.others.shape, strict=False)
    )
    return _look_at(seen.without(first.others[np.ix_(rows, columns)]))


def _places(first: int, end: int, count: int) -> NDArray[np.int64]:
    """The middles of so many equal parts of a stretch of pixels."""
    return first + (2 * np.arange(count) + 1) * (end - first) // (2 * count)


def _may_be_ground(found: Look) -> bool:
    """Whether it fills its box, as sheets do, reaches the border, as thumbs and shadows do, or is a part of those."""
    digit = found.digit
    border = digit[[0, -1]].any() or digit[:, [0, -1]].any()
    part = np.count_nonzero(found.others) > np.count_nonzero(digit)
    return bool(border or part) or fills_its_box(cropped(digit))


def _look_at(seen: Relief) -> Look | None:
    """The digit in a relief; None without ink.

    Black frames and table edges set the level so high that a pencil's digit among them is missed: they are peeled off,
    and the rest is looked at again, as long as something of a digit's size comes out.
    """
    found, peeled, others = None, seen, np.zeros(seen.strength.shape, np.bool_)
    for _ in range(PEELS):
        level = _level(peeled)
        if level < max(MIN_CONTRAST, OVER_NOISE * seen.noise) or (found is not None and level > SAME * found.level):
            break
        numbered, faint = _inked(peeled, level)
        digit, foreign, rivals = sort_out(numbered, faint, peeled.strength / level)
        if found is not None and _longer(digit) < DIGIT * max(digit.shape):
            break
        if digit.any():
            others |= (numbered >= 0) & ~digit
            beside = dilate_square(others, 1) & ~dilate_square(digit, 1)
            found = Look(digit, beside, rivals, level, seen)
        if not foreign.any():
            break
        peeled = peeled.without(dilate_square(foreign, 2) & ~dilate_square(digit & ~foreign, 1))
    return found


def _resized(pixels: Pixels) -> Colours:
    """Pixels at the size of a look, by area averaging or smooth enlargement: float32[h, w, C]."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    scale = min(1.0, SIZE / longer) if longer > SMALLEST else SMALLEST / longer
    size = max(3, round(width * scale)), max(3, round(height * scale))
    way = Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if size != image.size:
        image = image.resize(size, way)
    colours = np.asarray(image, np.float32).reshape(size[1], size[0], -1)
    grey = colours[..., :1]
    return grey if (colours == grey).all() else colours  # grey saved as RGB costs three times as much


def _level(seen: Relief) -> float:
    """How far ink stands out: the mean strength of what is over the noise, weighted by its own strength."""
    strong = seen.strength[seen.strength > OVER_NOISE * seen.noise].astype(np.float64)
    return float((strong**3).sum() / (strong**2).sum()) if strong.size else 0.0


def _inked(seen: Relief, level: float) -> tuple[Labels, Mask]:
    """Numbered shapes of what is ink for certain or touches it and possibly is; and the faint part of lines, maybe."""
    floor = OVER_NOISE * seen.noise
    # Against the strongest ink around, a stroke's soft edge is cut where it is half as strong, dark or faint.
    edge = EDGE * np.minimum(dilate_square(seen.strength, REACH), level)
    possible = seen.strength > np.maximum(edge, max(POSSIBLE * level, 0.6 * floor))
    certain = seen.strength > max(CERTAIN * level, floor)
    labels = label(possible)
    chosen = np.zeros(int(labels.max(initial=-1)) + 2, np.bool_)
    chosen[labels[certain & possible]] = True
    chosen[-1] = False
    return np.where(chosen[labels], labels, -1), seen.strength > max(TRACE * level, 0.5 * floor)


def _longer(mask: Mask) -> int:
    """The longer side of the box of a mask."""
    return max(int(np.ptp(np.flatnonzero(mask.any(axis)))) + 1 for axis in (0, 1)) if mask.any() else 0
