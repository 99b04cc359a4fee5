"""Find the digit in a picture: where it is, and which pixels are its strokes.

In: upright pixels, `uint8[H, W]` or `uint8[H, W, 3]`. Out: a `Digit`, its strokes cropped. The whole picture is
segmented at a small size first. Then the part with the digit is segmented again, or the sheet of paper that was taken
for it. It does not know file formats or the network's 28 x 28.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ..geometry import border_distance, bounding_box, crop, thickness
from .background import BRUSH, extract_narrow, extract_strokes, subtract_background
from .morphology import dilate_square, label
from .rulings import bands, has_straight_sides
from .selection import fills_its_box, select

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Colours, Labels, Mask, Pixels
    from ..geometry import Box
    from .background import Foreground

SIZE = 120  # pixels of the longer side at which a picture is segmented; strokes are then 2 to 18 wide
SMALLEST = 84  # pixels of the longer side; smaller pictures are enlarged to this, so that strokes have smooth edges
# Thresholds.
MIN_CONTRAST = 6  # grey levels; less is rounding, or the noise of a camera or a decoder
OVER_NOISE = 4.8  # standard deviations of the background's noise; ink is stronger
CERTAIN, POSSIBLE = 0.5, 0.3  # of the contrast: certainly ink; and ink if it is connected to such
EDGE, REACH = 0.45, 3  # of the strongest ink within so many pixels, but at most of the contrast: the edge of a stroke
WEAK = 0.002  # of the picture's pixels: fewer that are possibly ink are no part of a stroke
TRACE = 0.15  # of the contrast: the threshold at which ruled lines are followed
# Peeling.
PEELS = 3  # segmentations of one foreground, each without what was foreign in the one before
SAME = 0.85  # of the contrast before; ink that is as strong after peeling was segmented well before
DIGIT = 0.12  # of the picture's longer side; what is smaller and is found only after peeling is dirt
# Lines alone, as shares of the picture's shorter side.
LONG, SLIM = 0.45, 0.12
TOUCHING, ALONG = 0.04, 0.25  # from the border
BESIDE = 0.05  # of a line's ink may be further from the border
BESIDE_LINE = 5  # pixels
SMALL_REMAINS = 0.07  # of the picture's longer side; what is smaller, beside lines and edges, remains of them
STRIP, REMAINS = 0.07, 0.15  # from the border: a line's pieces, and those that remain where others were peeled
# What is segmented again.
THINNER = 2 / 3  # of the thickness that was found: strokes among sheets, thumbs and shadows are thinner than this
CLOSER = 0.55  # of the picture's longer side: a smaller digit is segmented again, from near
MARGIN = 0.3  # of the digit's size: background around it in the second segmentation
SIDES, SHEET = 0.7, 0.2  # a sheet covers so much of each side of its box, and so much of the picture's longer side
MOSTLY = 0.75  # of the picture's pixels: a canvas of one colour leaves fewer that differ from it
SHEET_EDGE = 2 / SIZE  # of the picture's longer side: the width of a sheet's blurred edge
# A stroke that runs out of the picture.
NEAR_BORDER = 0.05  # of the picture's side
CUT = 0.78  # of the strength inside: as strong at the border
CUT_WIDTH, ALIKE = (0.7, 2.2), (0.55, 1.5)  # times the thickness of strokes, and the width inside
FAINT = 24  # grey levels; ink of less contrast is read, with a warning


class Segmentation(NamedTuple):
    """The result of one segmentation, at its size."""

    digit: Mask  # bool[h, w]
    others: Mask  # bool[h, w]: ink that is not the digit's
    rivals: bool  # whether other components may be digits as well
    contrast: float  # of ink, grey levels
    foreground: Foreground  # in which ink was found


class Digit(NamedTuple):
    """The digit as found in a picture."""

    strokes: Mask  # bool[h, w], cropped to the digit, at most SIZE pixels long
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture
    ink_ratio: float  # share of the picture's pixels that are the digit's ink
    box: Box | None  # in the picture; None: no ink
    warnings: tuple[str, ...]  # of "no_ink", "too_faint", "several_shapes", "cut_off"


def find_digit(pixels: Pixels) -> Digit:
    """Find the digit; without any ink the box is None and the warnings are `no_ink`."""
    first = segment(pixels)
    if first is None:
        return Digit(np.zeros((1, 1), np.bool_), "dark_on_light", 0.0, None, ("no_ink",))
    height, width = pixels.shape[:2]
    whole = 0, 0, width, height
    if _is_sheet(first.digit):
        sheet = _box_in_picture(first.digit, whole, -SHEET_EDGE * max(height, width) - 1)
        inside = pixels[sheet[1] : sheet[3], sheet[0] : sheet[2]]
        written = segment(inside) if inside.size else None
        if written is not None:
            return _refine(pixels, written, sheet)
    return _refine(pixels, first, whole)


def _refine(pixels: Pixels, first: Segmentation, whole: Box) -> Digit:
    """Turn the segmentation of the box `whole` into a digit; a small digit is segmented again first."""
    found, part, box = first, whole, _box_in_picture(first.digit, whole, 0)
    longer = max(box[2] - box[0], box[3] - box[1])
    if longer < CLOSER * max(whole[2] - whole[0], whole[3] - whole[1]):
        near = _box_in_picture(first.digit, whole, MARGIN * longer + 3)
        second = _segment_closer(pixels, whole, near, first)
        if second is not None and second.foreground.light == first.foreground.light:
            found, part, box = second, near, _box_in_picture(second.digit, near, 0)
    height, width = pixels.shape[:2]
    # In the order of `np.rot90`, which turns these sides up one after the other.
    borders = part[1] == 0, part[2] == width, part[3] == height, part[0] == 0
    warnings = (
        ("too_faint",) * (found.contrast < FAINT)
        + ("several_shapes",) * first.rivals
        + ("cut_off",) * any(at and _is_cut_off(found, turns) for turns, at in enumerate(borders))
    )
    polarity = "light_on_dark" if first.foreground.light else "dark_on_light"
    return Digit(crop(found.digit), polarity, float(first.digit.mean()), box, warnings)


def _is_cut_off(found: Segmentation, turns: int) -> bool:
    """Whether strokes run out of the picture through its upper border, after so many quarter turns.

    People crop pictures so that a stem or a bar ends at the border, and nothing that matters is missing. So two strokes
    count, or one at the top of the upright picture: a 6 without its stem is a 0.

    A digit that reaches the opposite border too, or both beside, is cropped to its box, and may touch it with whole
    strokes. Others are cut: the stroke is about as strong at the border as inside, about as wide as strokes are, and
    goes on in one piece.
    """
    digit, strength = np.rot90(found.digit, turns), np.rot90(found.foreground.strength, turns)
    near = [1 + round(NEAR_BORDER * count) for count in digit.shape]
    aside = digit[:, : near[1]].any() and digit[:, -near[1] :].any()
    if not digit[0].any() or digit[-near[0] :].any() or aside:
        return False
    thick = thickness(found.digit)
    inside, cut = min(max(1, round(thick)), len(digit) - 1), 0
    for first, end in bands(digit[0]):
        left, right = max(0, int(first - thick)), int(end + thick)
        beyond = digit[inside, left:right]
        within = bands(beyond)
        if len(within) != 1 or not CUT_WIDTH[0] * thick < end - first < CUT_WIDTH[1] * thick:
            continue
        alike = ALIKE[0] < (within[0][1] - within[0][0]) / (end - first) < ALIKE[1]
        full = float(np.median(strength[0, first:end])) > CUT * float(strength[inside, left:right][beyond].max())
        cut += alike and full
    return cut > 1 or (cut == 1 and turns == 0)


def _is_sheet(digit: Mask) -> bool:
    """Whether a mask covers all four sides of its box: a note on a table, a picture in a picture."""
    sheet = crop(digit)
    sides = min(side.mean() for side in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]))
    return bool(sides > SIDES and min(sheet.shape) > SHEET * max(digit.shape))


def _box_in_picture(digit: Mask, whole: Box, margin: float) -> Box:
    """The digit's box with a margin, in pixels of the picture, whose part in the box `whole` the mask shows."""
    left, top, right, bottom = whole
    first_column, first_row, end_column, end_row = bounding_box(digit)
    down, across = (bottom - top) / digit.shape[0], (right - left) / digit.shape[1]
    return (
        max(left, int(left + first_column * across - margin)),
        max(top, int(top + first_row * down - margin)),
        min(right, int(np.ceil(left + end_column * across + margin))),
        min(bottom, int(np.ceil(top + end_row * down + margin))),
    )


def segment(pixels: Pixels) -> Segmentation | None:
    """Segment pixels into digit, other ink and background; None where there is no ink.

    Where nothing is found, or what may be a sheet, a thumb or a shadow, strokes alone are extracted and segmented.
    """
    colours = _resize(pixels)
    found = _segment_foreground(subtract_background(colours))
    if found is not None and (found.foreground.reach or not _may_be_background(found)):
        return found
    strokes = extract_strokes(colours)
    finer = None if strokes is None else _segment_foreground(strokes)
    if found is None or finer is None:
        return found or finer
    if _is_on_canvas(found) and finer.foreground.light != found.foreground.light:
        return found  # what is finer is the holes of a thick brush's digit
    # A piece of a shadow that strokes enclose may be as thin as they are; the shadow as a whole is not.
    thick = max(thickness(found.digit), thickness(found.digit | found.others))
    return finer if thickness(finer.digit) < THINNER * thick else found


def _is_on_canvas(found: Segmentation) -> bool:
    """Whether ink that fills its box is on one colour: a program's thick brush, and no sheet."""
    plain = np.count_nonzero(found.foreground.strength) < MOSTLY * found.digit.size
    return bool(plain and fills_its_box(crop(found.digit)) and not _reaches_border(found.digit))


def _reaches_border(digit: Mask) -> bool:
    return bool(digit[[0, -1]].any() or digit[:, [0, -1]].any())


def _segment_closer(pixels: Pixels, whole: Box, near: Box, first: Segmentation) -> Segmentation | None:
    """Segment the pixels in the box `near` as the box `whole` was segmented, and without the other ink found there."""
    colours = _resize(pixels[near[1] : near[3], near[0] : near[2]])
    before, size = first.foreground, max(whole[2] - whole[0], whole[3] - whole[1])
    reach = before.reach * size / max(near[2] - near[0], near[3] - near[1])
    if before.reach:
        foreground = extract_narrow(colours, min(reach, BRUSH), light=before.light)
    else:
        foreground = subtract_background(colours)
    rows, columns = (
        _centres(near[at] - whole[at], near[at + 2] - whole[at], count) * count_before // (whole[at + 2] - whole[at])
        for at, count, count_before in zip((1, 0), colours.shape, first.others.shape, strict=False)
    )
    return _segment_foreground(foreground.without(first.others[np.ix_(rows, columns)]))


def _centres(first: int, end: int, count: int) -> NDArray[np.int64]:
    """The centres of `count` equal parts of a stretch of pixels."""
    return first + (2 * np.arange(count) + 1) * (end - first) // (2 * count)


def _may_be_background(found: Segmentation) -> bool:
    """Whether it may be a sheet, which fills its box, a thumb or shadow, which reaches the border, or part of one."""
    part = np.count_nonzero(found.others) > np.count_nonzero(found.digit)
    return bool(_reaches_border(found.digit) or part) or fills_its_box(crop(found.digit))


def _segment_foreground(foreground: Foreground) -> Segmentation | None:
    """Segment a foreground; None without ink.

    Black frames and table edges raise the contrast so much that a pencil's digit among them is missed. So they are
    peeled off, and the rest is segmented again, as long as something of a digit's size is found.
    """
    found, peeled, others = None, foreground, np.zeros(foreground.strength.shape, np.bool_)
    lines = others.copy()
    for _ in range(PEELS):
        contrast = _contrast(peeled)
        if contrast < max(MIN_CONTRAST, OVER_NOISE * foreground.noise):
            break
        if found is not None and contrast > SAME * found.contrast:
            break
        labels, faint = _threshold(peeled, contrast)
        digit, foreign, rivals = select(labels, faint, peeled.strength / contrast, peeled.apart)
        if found is not None and _longer_side(digit) < DIGIT * max(digit.shape):
            break
        small = (SMALL_REMAINS if peeled is foreground else DIGIT) * max(digit.shape)
        dirt = bool(foreign.any() or lines.any()) and _longer_side(digit) < small
        remains = found is None and (dirt or _is_beside(digit, lines))
        if digit.any() and (remains or _is_along_border(digit, STRIP if peeled is foreground else REMAINS)):
            foreign, digit = foreign | digit, np.zeros_like(digit)
        lines |= foreign
        if digit.any():
            others |= (labels >= 0) & ~digit
            beside = dilate_square(others, 1) & ~dilate_square(digit, 1)
            found = Segmentation(digit, beside, rivals, contrast, foreground)
        if not foreign.any():
            break
        peeled = peeled.without(dilate_square(foreign, 2) & ~dilate_square(digit & ~foreign, 1))
    return found


def _is_beside(digit: Mask, lines: Mask) -> bool:
    """Whether most of what was found after lines were peeled off is what remains of these lines."""
    return bool(
        lines.any() and 2 * np.count_nonzero(digit & dilate_square(lines, BESIDE_LINE)) > np.count_nonzero(digit)
    )


def _is_along_border(digit: Mask, strip: float) -> bool:
    """Whether ink is the edge or the corner of a cell or a page: it keeps to the picture's border along its length.

    It is long and touches the border with its side or with both ends, or all of it is in a strip beside the border, of
    this share of the shorter side. Digits that are cropped to their box may do so too, but they are not slim, and not
    straight.
    """
    height, width = digit.shape
    shorter = min(height, width)
    distance = border_distance(height, width)[digit]
    if distance.max() < strip:
        return True
    if np.count_nonzero(distance > ALONG) > BESIDE * distance.size:
        return False
    left, top, right, bottom = bounding_box(digit)
    near = TOUCHING * shorter
    touched = left <= near, top <= near, width - right <= near, height - bottom <= near
    if max(right - left, bottom - top) < LONG * shorter or not any(touched):
        return False
    if min(right - left, bottom - top) < SLIM * shorter:
        sides, ends = (touched[::2], touched[1::2]) if bottom - top > right - left else (touched[1::2], touched[::2])
        return any(sides) or all(ends)
    return has_straight_sides(crop(digit))


def _contrast(foreground: Foreground) -> float:
    """The mean strength of what is above the noise, weighted by its square."""
    strong = foreground.strength[foreground.strength > OVER_NOISE * foreground.noise].astype(np.float64)
    return float((strong**3).sum() / (strong**2).sum()) if strong.size else 0.0


def _threshold(foreground: Foreground, contrast: float) -> tuple[Labels, Mask]:
    """Label the components of ink by hysteresis, and find the faint pixels in which ruled lines are followed.

    A component is connected pixels that are possibly ink, with at least one that is certainly ink.
    """
    strength, floor = foreground.strength, OVER_NOISE * foreground.noise
    # Relative to the strongest ink nearby, a stroke's soft edge is cut where it is half as strong, dark or faint.
    edge = EDGE * np.minimum(dilate_square(strength, REACH), contrast)
    possible = strength > np.maximum(edge, max(POSSIBLE * contrast, 0.6 * floor))
    certain = strength > max(CERTAIN * contrast, floor)
    labels = _label_certain(possible, certain)
    weak = possible & (labels < 0)
    if np.count_nonzero(weak) > WEAK * weak.size:
        # Beside the dark part of a stroke, its faint part is cut as an edge would be: join them across this gap.
        gap = dilate_square(weak, REACH + 1) & (strength > max(POSSIBLE * contrast, 0.6 * floor))
        labels = _label_certain(possible | gap, certain)
    return labels, strength > max(TRACE * contrast, 0.5 * floor)


def _label_certain(possible: Mask, certain: Mask) -> Labels:
    """Label the components of a mask that have a certain pixel; -1 elsewhere."""
    labels = label(possible)
    chosen = np.zeros(int(labels.max(initial=-1)) + 2, np.bool_)
    chosen[labels[certain & possible]] = True
    chosen[-1] = False
    return np.where(chosen[labels], labels, -1)


def _longer_side(mask: Mask) -> int:
    """The longer side of a mask's box; 0 for an empty mask."""
    return max(crop(mask).shape) if mask.any() else 0


def _resize(pixels: Pixels) -> Colours:
    """Pixels at the size of a segmentation, by area averaging or smooth enlargement: float32[h, w, C]."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    scale = min(1.0, SIZE / longer) if longer > SMALLEST else SMALLEST / longer
    size = max(3, round(width * scale)), max(3, round(height * scale))
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC)
    colours = np.asarray(image, np.float32).reshape(size[1], size[0], -1)
    grey = colours[..., :1]
    return grey if (colours == grey).all() else colours  # grey that was saved as RGB would take three times as long
