"""Ink against paper: where the digit is in a picture, and which pixels are its strokes.

In: upright pixels, `uint8[H, W]` or `uint8[H, W, 3]`. Out: an `Ink`, the digit's strokes cropped. It looks twice: once
at the whole picture, small; then closer, where the digit is. It does not know file formats, nor the network's 28 x 28.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from service.components import Mask, label
from service.ground import relief
from service.morphology import dilate_square
from service.shapes import sort_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.ground import Relief
    from service.picture import Pixels
    from service.surface import Colours

LOOK = 120  # pixels of the longer side at which a picture is looked at; strokes are then 2 to 18 wide
SMALLEST_LOOK = 84  # smaller pictures are enlarged to this, so that strokes have smooth edges
CLOSER = 0.55  # of the look: a digit that is smaller is looked at again from near
MARGIN = 0.3  # of the digit's size: ground around it on the second look
MIN_CONTRAST = 6  # grey levels; less is rounding, or the noise of a camera or a decoder
FAINT = 24  # grey levels; less is read, with a warning
CERTAIN, POSSIBLE = 0.5, 0.3  # of the ink's level: ink for certain; and ink if certain ink is connected to it
EDGE, REACH = 0.45, 3  # of the strongest ink within so many pixels of a look, up to the ink's level: a stroke's edge
TRACE = 0.15  # of the ink's level: in this a line of the paper is followed
OVER_NOISE = 4.8  # deviations of the ground's noise that ink must stand out

PEELS = 3  # looks at one relief, each without what was foreign in the one before
SAME = 0.85  # of the level before: what is as strong after peeling was seen as it is
DIGIT = 0.12  # of the picture's longer side: what is smaller and comes out only after peeling is dirt

Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive


class Ink(NamedTuple):
    """The digit as found in a picture."""

    strokes: Mask  # bool[h, w], cropped to the digit, at most LOOK pixels long
    polarity: str  # "light_on_dark" | "dark_on_light", of the picture
    ratio: float  # share of the picture's pixels that are the digit's ink
    box: Box | None  # in the picture; None: no ink
    warnings: tuple[str, ...]  # of "no_ink", "too_faint", "several_shapes"


class _Look(NamedTuple):
    """What one look at pixels finds, in the pixels it was given."""

    digit: Mask  # bool[h, w] at the size of the look
    box: tuple[float, float, float, float]  # shares of the width and height
    level: float  # contrast of the ink, grey levels
    rivals: bool
    light: bool


def find_ink(pixels: Pixels) -> Ink:
    """Find the digit; without any ink the box is None and the warnings say `no_ink`."""
    first = _look(pixels)
    if first is None:
        return Ink(np.zeros((1, 1), np.bool_), "dark_on_light", 0.0, None, ("no_ink",))
    height, width = pixels.shape[:2]
    look, (left, top, right, bottom) = first, _around(first.box, width, height, 0.0)
    if max(right - left, bottom - top) < CLOSER * max(width, height):
        near = _around(first.box, width, height, MARGIN)
        second = _look(pixels[near[1] : near[3], near[0] : near[2]])
        if second is not None and second.light == first.light:
            inside = _around(second.box, near[2] - near[0], near[3] - near[1], 0.0)
            left, top, right, bottom = (a + b for a, b in zip(inside, (near[0], near[1]) * 2, strict=True))
            look = second._replace(rivals=first.rivals)
    warnings = ("too_faint",) * (look.level < FAINT) + ("several_shapes",) * look.rivals
    polarity = "light_on_dark" if first.light else "dark_on_light"
    return Ink(_cropped(look.digit), polarity, float(first.digit.mean()), (left, top, right, bottom), warnings)


def _look(pixels: Pixels) -> _Look | None:
    """Look at pixels at a middling size; None where there is no ink."""
    seen = relief(_resized(pixels))
    found = _found(seen)
    if found is None:
        return None
    digit, level, rivals = found
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    height, width = digit.shape
    box = columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
    return _Look(digit, box, level, rivals, seen.light)


def _found(seen: Relief) -> tuple[Mask, float, bool] | None:
    """The digit, its level, and whether it has rivals; None without ink.

    Black frames and table edges set the level so high that a pencil's digit among them is missed: they are peeled off,
    and the rest is looked at again, as long as something of a digit's size comes out.
    """
    found = None
    for _ in range(PEELS):
        level = _level(seen)
        if level < max(MIN_CONTRAST, OVER_NOISE * seen.noise) or (found is not None and level > SAME * found[1]):
            break
        digit, foreign, rivals = sort_out(*_inked(seen, level), seen.strength / level)
        if found is not None and _longer(digit) < DIGIT * max(digit.shape):
            break
        found = (digit, level, rivals) if digit.any() else found
        if not foreign.any():
            break
        peel = dilate_square(foreign, 2) & ~dilate_square(digit & ~foreign, 1)
        seen = seen._replace(strength=np.where(peel, np.float32(0), seen.strength))
    return found


def _longer(mask: Mask) -> int:
    """The longer side of the box of a mask."""
    return max(int(np.ptp(np.flatnonzero(mask.any(axis)))) + 1 for axis in (0, 1)) if mask.any() else 0


def _resized(pixels: Pixels) -> Colours:
    """Pixels at the size of a look, by area averaging or smooth enlargement: float32[h, w, C]."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    scale = min(1.0, LOOK / longer) if longer > SMALLEST_LOOK else SMALLEST_LOOK / longer
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


def _inked(seen: Relief, level: float) -> tuple[NDArray[np.int64], Mask]:
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


def _around(box: tuple[float, float, float, float], width: int, height: int, margin: float) -> Box:
    """A box of shares as pixels of a picture, wider by `margin` of its longer side, inside the picture."""
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    room = margin * max(right - left, bottom - top) + (3 if margin else 0)
    return (
        max(0, int(left - room)),
        max(0, int(top - room)),
        min(width, int(np.ceil(right + room))),
        min(height, int(np.ceil(bottom + room))),
    )


def _cropped(mask: Mask) -> Mask:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
