"""Find ruled lines and boxes in a mask of ink: grids, rules, form fields, frames, circles, the edges of a page.

In: masks, `bool[H, W]`, and strength and colours of ink. Out: masks without rulings, or of boxes. Strokes that cross a
line stay complete. It does not know backgrounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..geometry import bounding_box, crop, thickness
from .lines import SHORTEST, find_lines, straighten
from .morphology import dilate, erode, label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Colours, Field, Labels, Mask
    from ..geometry import Box
    from .lines import Line

# Ruled lines.
LINE_LEAN = 2  # pixels up or down that a line may lean over such a run
CONTACT = 3  # pixels beside a line in which a stroke meets it
ALIKE = 2.5  # pixels: lines that make a corner are as thick as each other but for this
FOLLOWED = 0.5  # of the digit's size: a stroke follows a line no longer
MEET = 4  # pixels: lines that come so near to each other meet
SAME_WIDTH, SAME_INK = 0.65, 0.75  # times that of the other strokes, or as much less: of the same pen
CROPPED = 0.12  # of the picture's side: the rest comes so near to the border at one of the line's ends
STRONGER = 1.25  # times a line's own strength: a stroke that covers the line
BORDER = 0.04  # of the picture's side: a line comes this near to the border at both its ends
SAME_COLOUR = 0.985  # cosine of the colours' angle: less is another pen's, or a printer's
PASSED = 0.1  # of the other strokes' size: a line that goes so much further than they do passes them
WRITTEN = 0.2  # of the picture's longer side: strokes without lines that are so large show the pen's colour
# Boxes.
SIDES = 0.36, 0.5  # of the picture's sides: a box around a digit has longer ones
SIDE_RUN = 0.7  # of the box's side: a run this long is straight
SIDE_LEAN = 1  # pixels up or down that a side may lean, beside its own thickness
STRAIGHT = 0.85  # of a box's ink is in straight runs: people do not write like this
SMALLEST = 0.4  # of the picture's sides: a smaller component is a part of a digit
SPECK = 0.05  # of the largest component's pixels: a smaller one is neither a box nor in a box
INSIDE_BOX, INSIDE_RING = 0.12, 0.3  # of the shorter side: a component this long, inside, may be a digit
NEAR = 2  # pixels: a ring that comes so near to the picture's border continues beyond it


def remove_rulings(mask: Mask, faint: Mask, strength: Field, apart: Colours) -> Mask:
    """Remove rules, and the corners and sides of boxes, followed through `faint` where they fade.

    A line is ruled if each of its ends is at the picture's border or at another such line, or if it passes the digit
    and is of another pen. `apart` is by how much colours differ from the background. A digit that is cropped to its box
    stays complete.
    """
    if not _may_be_ruled(faint):
        return mask
    size = mask.shape
    across, down = find_lines(faint), find_lines(faint.T)
    if not (across or down):
        return mask
    rest = _largest_component(mask & ~_cover(across, size) & ~_cover(down, size[::-1]).T)
    across, down = _tell_pens(across, down, rest, strength, apart)
    across, down = _anchored(across, down, size)
    if not (across or down):
        return mask
    ruled = _cover(across, size), _cover(down, size[::-1]).T
    rest = _largest_component(mask & ~ruled[0] & ~ruled[1])
    lines = mask & (ruled[0] | ruled[1])
    alone = len(across) + len(down) == 1 and lines.any() and rest.any()
    if alone and _is_stroke((across or down)[0], lines, rest, strength, along=1 if across else 0):
        return mask
    across = [line for line in across if not _belongs(line, rest)]
    down = [line for line in down if not _belongs(line, rest.T)]
    across, down = _anchored(across, down, size)
    covered = _cover(across, size) | _cover(down, size[::-1]).T
    cleared = mask.copy()
    digit = (max(crop(rest).shape), float(np.median(strength[rest]))) if rest.any() else (0, 0.0)
    pen = _direction(apart, rest)
    for line in across:
        _erase(cleared, mask & ~covered, line, strength, digit)
        _erase_colour(cleared, line, apart, pen)
    for line in down:
        _erase(cleared.T, (mask & ~covered).T, line, strength.T, digit)
        _erase_colour(cleared.T, line, apart.swapaxes(0, 1), pen)
    return cleared


def _may_be_ruled(mask: Mask) -> bool:
    """Whether long straight runs reach the border, or there are two in both directions, as in a box: a cheap check."""
    counts = []
    for smeared in (dilate(mask, LINE_LEAN, 0), dilate(mask, LINE_LEAN, 1).T):
        width = smeared.shape[1]
        runs = _straight_runs(smeared, int(SHORTEST * width) // 2)
        near = round(BORDER * width) + 1
        if runs[:, :near].any() or runs[:, -near:].any():
            return True
        counts.append([len(bands(np.any(_straight_runs(runs, int(side * width) // 2), 1))) for side in SIDES])
    shorter, longer = zip(*counts, strict=True)
    return bool(min(shorter) > 1 and max(longer) > 1)


def _tell_pens(
    across: list[Line], down: list[Line], rest: Mask, strength: Field, apart: Colours
) -> tuple[list[Line], list[Line]]:
    """Mark the lines that have another colour than the other strokes, `rest`, or are of another pen.

    Those pass the rest on both sides. They have another colour, wherever they end; or one end at the border, and are
    stronger or fainter.
    """
    if not rest.any() or max(crop(rest).shape) < WRITTEN * max(rest.shape):
        return across, down
    ruled = _cover(across, rest.shape), _cover(down, rest.T.shape).T
    turned = rest.T, ruled[0].T, strength.T, apart.swapaxes(0, 1)
    return (
        [_tell_pen(line, rest, ruled[1], strength, apart) for line in across],
        [_tell_pen(line, *turned) for line in down],
    )


def _tell_pen(line: Line, rest: Mask, crossing: Mask, strength: Field, apart: Colours) -> Line:
    """Mark one line, by what is drawn of it where there is neither the rest nor a line that crosses it."""
    reached, width = np.flatnonzero(rest.any(0)), rest.shape[1]
    margin = PASSED * max(crop(rest).shape)
    passes = line.first < reached[0] - margin and line.last > reached[-1] + margin
    alone = _cover([line], rest.shape)
    alone[:, reached[0] : reached[-1] + 1] = False
    alone[:, (alone & crossing).any(0)] = False
    if np.count_nonzero(alone.any(0)) < margin:
        return line
    peaks = np.where(alone, strength, 0).max(0)[alone.any(0)]
    drawn = alone & (strength > 0.5 * np.median(peaks))
    if not drawn.any():
        return line
    times = float(np.median(strength[drawn])) / float(np.median(strength[rest]))
    at_border = line.first <= BORDER * width or line.last >= (1 - BORDER) * width - 1
    colour = _direction(apart, drawn)
    coloured = bool(colour @ _direction(apart, rest) < SAME_COLOUR)
    other = passes and (coloured or (at_border and not SAME_INK < times < 1 / SAME_INK))
    return line._replace(of_other_pen=other, colour=colour if coloured else None)


def _direction(apart: Colours, pixels: Mask) -> NDArray[np.float32]:
    """The unit vector along which pixels differ from the background in their mean, float32[C]."""
    total = apart[pixels].sum(0)
    return np.asarray(total / max(1e-6, float(np.linalg.norm(total))), np.float32)


def _anchored(across: list[Line], down: list[Line], size: tuple[int, ...]) -> tuple[list[Line], list[Line]]:
    """The lines of other pens, and those with both ends at the picture's border or at another line of these."""
    height, width = size
    while True:
        kept = [line for line in across if _is_anchored(line, down, width)]
        kept_down = [line for line in down if _is_anchored(line, kept, height)]
        if len(kept) == len(across) and len(kept_down) == len(down):
            return across, down
        across, down = kept, kept_down


def _is_anchored(line: Line, others: list[Line], width: int) -> bool:
    """Whether both ends are at the border or at other lines, and one of them is no stroke's end at a line's side."""
    if line.of_other_pen:
        return True
    firm = 0
    for end, at_border in (
        (line.first, line.first <= BORDER * width),
        (line.last, line.last >= (1 - BORDER) * width - 1),
    ):
        met = [_meet(line, end, other) for other in others]
        if not (at_border or any(met)):
            return False
        firm += at_border or "corner" in met
    return firm > 0


def _meet(line: Line, end: int, other: Line) -> str:
    """Whether a line's end is at the "side" of a line of the other direction, or at its end, which makes a "corner"."""
    row = int(line.middle[end].clip(0, len(other.middle) - 1))
    if abs(int(other.middle[row]) - end) > other.thick / 2 + MEET:
        return ""
    reach = line.thick / 2 + MEET
    if min(abs(row - other.first), abs(row - other.last)) <= reach and abs(line.thick - other.thick) <= ALIKE:
        return "corner"
    return "side" if other.first <= row <= other.last else ""


def _cover(lines: list[Line], size: tuple[int, ...]) -> Mask:
    """The pixels of lines and of their soft edges."""
    covered = np.zeros(size, np.bool_)
    for line in lines:
        columns = np.arange(line.first, line.last + 1)
        half = _half(line)
        rows = line.middle[columns] + np.arange(-half, half + 1)[:, None]
        inside = (rows >= 0) & (rows < size[0])
        covered[rows[inside], np.broadcast_to(columns, rows.shape)[inside]] = True
    return covered


def _half(line: Line) -> int:
    return int(line.thick / 2 + 0.5) + 1


def _belongs(line: Line, rest: Mask) -> bool:
    """Whether a line belongs to a digit that is cropped to its box, whose rest reaches the borders opposite."""
    if line.of_other_pen:
        return False
    height = len(rest)
    near = 1 + round(BORDER * height)
    first, last = bool(rest[:near].any()), bool(rest[-near:].any())
    row = int(line.middle[(line.first + line.last) // 2])
    near_top, near_bottom = row <= 0.1 * height, row >= 0.9 * height
    return last if near_top else first if near_bottom else first and last


def _is_stroke(line: Line, ink: Mask, rest: Mask, strength: Field, *, along: int) -> bool:
    """Whether the only line is a stroke of the rest, which is cropped at the line's ends: of the same pen, and as long.

    `ink` is the line's, and `along` the axis that it runs along.
    """
    if line.of_other_pen:
        return False
    own, other = (float(np.median(strength[pixels])) for pixels in (ink, rest))
    wide, strong = line.thick / thickness(rest), own / other
    reached = np.flatnonzero(rest.any(1 - along))
    near = CROPPED * rest.shape[along]
    cropped = reached[0] < near or reached[-1] >= rest.shape[along] - near
    return bool(cropped and SAME_WIDTH < wide < 1 / SAME_WIDTH and SAME_INK < strong < 1 / SAME_INK)


def _erase(cleared: Mask, rest: Mask, line: Line, strength: Field, digit: tuple[int, float]) -> None:
    """Erase a line in place, except where strokes cover it or continue across it, or along it between two contacts.

    `digit` is its size in pixels and the strength of its ink.
    """
    size, ink = digit
    half = _half(line)
    strip = straighten(rest, line.middle, half + CONTACT)[:, line.first : line.last + 1]
    above, below = np.any(strip[:CONTACT], 0), np.any(strip[-CONTACT:], 0)
    slant = half + 1
    crossed = _widen(above, slant) & _widen(below, slant)
    # A stroke that meets the line and does not cross it at once may follow it, up to where it leaves it.
    meets = bands((above | below) & ~_widen(crossed, slant))
    at = 0
    while at + 1 < len(meets):
        one, other = (above[first:end].any() for first, end in meets[at : at + 2])
        if meets[at + 1][0] - meets[at][1] <= (FOLLOWED * size if one == other else 2 * slant):
            crossed[meets[at][0] : meets[at + 1][1]] = True
            at += 1
        at += 1
    columns = np.arange(line.first, line.last + 1)
    rows = (line.middle[columns] + np.arange(-half, half + 1)[:, None]).clip(0, len(cleared) - 1)
    line_strength = strength[rows, columns]  # [2 * half + 1, n]
    peaks = line_strength.max(0)
    own = float(np.quantile(peaks, 0.25))
    gone = np.broadcast_to(~crossed & (peaks <= max(STRONGER * own, (own + ink) / 2)), rows.shape)
    cleared[rows[gone], np.broadcast_to(columns, rows.shape)[gone]] = False


def _erase_colour(cleared: Mask, line: Line, apart: Colours, pen: NDArray[np.float32]) -> None:
    """Erase in place what is left of a line where the picture is nearer to its colour than to the pen's, float32[C]."""
    colour = line.colour
    if colour is None:
        return
    strip = _cover([line], cleared.shape) & cleared
    colours = apart[strip]
    cleared[strip] = colours @ colour < colours @ pen


def _widen(columns: Mask, reach: int) -> Mask:
    """Widen runs of bool[W] by `reach` to both sides."""
    return dilate(columns[:, None], reach, 0)[:, 0]


def bands(rows: Mask) -> list[tuple[int, int]]:
    """The runs of true values in bool[H], each as its first index and one past its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _straight_runs(mask: Mask, reach: int) -> Mask:
    """The pixels in horizontal runs of at least 2 · reach + 1."""
    return dilate(erode(mask, reach, 1), reach, 1)


def _largest_component(mask: Mask) -> Mask:
    labels = label(mask)
    return np.asarray(labels == np.bincount(labels[mask]).argmax(), np.bool_) if mask.any() else mask


def find_boxes(labels: Labels) -> Mask:
    """Find boxes among components, and the components outside of all boxes: the pixels of both.

    A box has a component of a digit's size inside, and is ruled (its sides are straight) or a closed ring, which may
    continue beyond the picture's border. Without any box the mask is empty.
    """
    found, within = np.zeros(labels.shape, np.bool_), np.zeros(labels.shape, np.bool_)
    numbers, counts = np.unique(labels[labels >= 0], return_counts=True)
    if len(numbers) < 2:
        return found
    components = [labels == number for number in numbers[counts > SPECK * counts.max()]]
    boxes = np.array([bounding_box(component) for component in components])
    for component, box in zip(components, boxes, strict=True):
        left, top, right, bottom = box
        inside = (boxes[:, :2] > (left, top)).all(1) & (boxes[:, 2:] < (right, bottom)).all(1)
        longest = int(np.max(boxes[inside, 2:] - boxes[inside, :2], initial=0))
        if _is_box(labels, component[top:bottom, left:right], (left, top, right, bottom), longest):
            found |= component
            within[top:bottom, left:right] = True
    return np.asarray(found | ((labels >= 0) & ~within), np.bool_) if found.any() else found


def _is_box(labels: Labels, frame: Mask, box: Box, longest: int) -> bool:
    """Whether a component, cropped to its box, is a box around others, whose longest side is `longest` pixels."""
    height, width = labels.shape
    left, top, right, bottom = box
    if min(frame.shape[0] / height, frame.shape[1] / width) <= SMALLEST:
        return False
    shorter = min(frame.shape)
    if longest > INSIDE_BOX * shorter and has_straight_sides(frame):
        return True
    others = (labels[top:bottom, left:right] >= 0) & ~frame
    open_sides = top > NEAR, height - bottom > NEAR, left > NEAR, width - right > NEAR
    return longest > INSIDE_RING * shorter and _encloses(frame, others, open_sides)


def has_straight_sides(frame: Mask) -> bool:
    """Whether nearly all ink of a mask, cropped to its box, is in straight runs along the sides."""
    straight = _side_runs(frame) | _side_runs(frame.T).T
    return bool(np.count_nonzero(straight) > STRAIGHT * np.count_nonzero(frame))


def _side_runs(frame: Mask) -> Mask:
    """The pixels in nearly horizontal runs."""
    # Padded: otherwise runs would seem to continue beyond the border.
    padded = np.pad(dilate(frame, SIDE_LEAN, 0), ((0, 0), (1, 1)))
    return _straight_runs(padded, int(SIDE_RUN * frame.shape[1]) // 2)[:, 1:-1] & frame


def _encloses(ring: Mask, others: Mask, open_sides: tuple[bool, bool, bool, bool]) -> bool:
    """Whether a ring separates most of the others from the outside.

    `open_sides` says whether the picture goes on above, below, to the left and to the right of the ring.
    """
    above, below, left, right = open_sides
    around = np.pad(~ring, 1)
    around[0], around[-1] = above, below
    around[1:-1, 0], around[1:-1, -1] = left, right
    regions = label(around)
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    enclosed = ~np.isin(regions[1:-1, 1:-1], edge[edge >= 0])
    return bool(np.count_nonzero(enclosed & others) > 0.5 * np.count_nonzero(others))
