"""Find ruled lines and boxes in a mask of ink: grids, rules, form fields, frames, circles, the edges of a page.

In: masks, `bool[H, W]`, and the strength of ink. Out: masks without rulings, or of boxes. Strokes that cross a line
stay complete. It does not know backgrounds or colours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..geometry import bounding_box
from .morphology import dilate, erode, label

if TYPE_CHECKING:
    from ...arrays import Field, Labels, Mask
    from ..geometry import Box

# Ruled lines.
LINE_RUN = 0.5  # of the picture's side: a run this long is straight
LINE_LEAN = 2  # pixels up or down that a line may lean over such a run
THICKEST = 0.09  # of the picture's longer side: a thicker band is no line
STRONGER = 1.6  # times a line's own strength: a stroke that covers the line
BORDER = 0.04  # of the picture's side: a line comes this near to the border at both its ends
# Boxes.
SIDE_RUN = 0.7  # of the box's side: a run this long is straight
SIDE_LEAN = 1  # pixels up or down that a side may lean, beside its own thickness
STRAIGHT = 0.85  # of a box's ink is in straight runs: people do not write like this
SMALLEST = 0.4  # of the picture's sides: a smaller component is a part of a digit
SPECK = 0.05  # of the largest component's pixels: a smaller one is neither a box nor in a box
INSIDE_BOX, INSIDE_RING = 0.12, 0.3  # of the shorter side: a component this long, inside, may be a digit
NEAR = 2  # pixels: a ring that comes so near to the picture's border continues beyond it


def remove_rulings(mask: Mask, faint: Mask, strength: Field) -> Mask:
    """Remove straight lines from border to border, followed through `faint` where they fade.

    A digit that is cropped to its box stays complete.
    """
    horizontal, vertical = _horizontal_rulings(faint), _horizontal_rulings(faint.T).T
    if not (horizontal.any() or vertical.any()):
        return mask
    rest = _largest_component(mask & ~horizontal & ~vertical)
    cleared = _erase(mask, horizontal, rest, strength)
    return cleared & _erase(mask.T, vertical.T, rest.T, strength.T).T


def _horizontal_rulings(mask: Mask) -> Mask:
    """The pixels of nearly horizontal lines from the left border to the right."""
    height, width = mask.shape
    runs = _straight_runs(dilate(mask, LINE_LEAN, 0), int(LINE_RUN * width) // 2) & mask
    rulings = np.zeros_like(mask)
    for top, bottom in _bands(np.any(runs, 1)):
        columns = np.flatnonzero(runs[top:bottom].any(0))
        spans = columns[0] <= BORDER * width and columns[-1] >= (1 - BORDER) * width - 1
        if spans and bottom - top <= THICKEST * max(height, width):
            rulings[top:bottom] = runs[top:bottom]
    return rulings


def _straight_runs(mask: Mask, reach: int) -> Mask:
    """The pixels in horizontal runs of at least 2 · reach + 1."""
    return dilate(erode(mask, reach, 1), reach, 1)


def _bands(rows: Mask) -> list[tuple[int, int]]:
    """The runs of true values in bool[H], each as its first index and one past its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _largest_component(mask: Mask) -> Mask:
    labels = label(mask)
    return np.asarray(labels == np.bincount(labels[mask]).argmax(), np.bool_) if mask.any() else mask


def _erase(mask: Mask, rulings: Mask, rest: Mask, strength: Field) -> Mask:
    """Erase horizontal lines, except where a stroke covers a line or continues above and below it."""
    height, cleared = len(mask), mask.copy()
    first, last = bool(rest[:2].any()), bool(rest[-2:].any())
    for top, bottom in _bands(np.any(rulings, 1)):
        # The bar of a cropped 4, 5 or 7 spans the picture, too; but then the rest of the digit reaches the borders.
        near_top, near_bottom = top <= 0.1 * height, bottom >= 0.9 * height
        if last if near_top else first if near_bottom else first and last:
            continue
        line = rulings[top:bottom]
        own = float(np.median(strength[top:bottom][line]))
        crossed = _crossings(mask & ~rulings, int(line.sum() / line.shape[1]) + 2)[top:bottom]
        cleared[top:bottom] &= ~line | crossed | (strength[top:bottom] > STRONGER * own)
    return cleared


def _crossings(rest: Mask, reach: int) -> Mask:
    """The pixels with ink both above and below them, at most `reach` pixels away."""
    height = len(rest)
    tall = np.pad(dilate(dilate(rest, reach // 2 + 1, 0), 1, 1), ((reach, reach), (0, 0)))
    return tall[:height] & tall[2 * reach : 2 * reach + height]


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
