"""Straight lines of the paper in a mask of ink: grids, rules and frames, which are no part of a digit.

In: a mask, `bool[H, W]`. Out: the mask less what runs straight from border to border. Strokes that cross a line stay
whole. It does not know paper, colours nor digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..geometry import bounding_box
from .morphology import dilate, erode, label

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Field, Labels, Mask

STRAIGHT = 0.5  # of the picture's side: a run this long is straight
THICKEST = 0.09  # of the picture's longer side: a thicker band is no line
LEAN = 2  # pixels up or down that a line may lean over such a run
STRONGER = 1.6  # times a line's own strength: ink that lies on it
BORDER = 0.04  # of the picture's side: a line comes this near to the border at both its ends
RUN = 0.7  # of the shape's side: a run this long is straight
FRAME_LEAN = 1  # pixels up or down that the paper may lean, beside the line's own thickness
RULED = 0.85  # of the shape's ink is in straight runs: people do not write like this
SMALLEST = 0.4  # of the picture's sides: smaller is a part of a digit
SPECK = 0.05  # of the largest shape's pixels: less is neither a frame nor in one
CLOSED = 0.3  # of the ring's shorter side: what is as long, and inside a closed ring, may be a digit
NEAR = 2  # pixels: a ring that comes so near to the picture's border goes on beyond it
INSIDE = 0.12  # of the frame's shorter side: what is as long, and inside, may be a digit


def without_lines(mask: Mask, faint: Mask, strength: Field) -> Mask:
    """The mask less its lines, followed through `faint` where they fade; a digit cropped to its box stays."""
    level, upright = _level(faint), _level(faint.T).T
    if not (level.any() or upright.any()):
        return mask
    rest = _largest(mask & ~level & ~upright)
    cleared = _erased(mask, level, rest, strength)
    return cleared & _erased(mask.T, upright.T, rest.T, strength.T).T


def _largest(mask: Mask) -> Mask:
    """The largest shape of a mask."""
    labels = label(mask)
    return np.asarray(labels == np.bincount(labels[mask]).argmax(), np.bool_) if mask.any() else mask


def _level(mask: Mask) -> Mask:
    """The pixels of near-horizontal lines from the left border to the right."""
    height, width = mask.shape
    reach = int(STRAIGHT * width) // 2
    runs = dilate(erode(dilate(mask, LEAN, 0), reach, 1), reach, 1) & mask
    lines = np.zeros_like(mask)
    for top, bottom in _bands(np.any(runs, 1)):
        columns = np.flatnonzero(runs[top:bottom].any(0))
        spans = columns[0] <= BORDER * width and columns[-1] >= (1 - BORDER) * width - 1
        if spans and bottom - top <= THICKEST * max(height, width):
            lines[top:bottom] = runs[top:bottom]
    return lines


def _bands(rows: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The runs of true rows, as first and one past the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rows, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _erased(mask: Mask, lines: Mask, rest: Mask, strength: Field) -> Mask:
    """The mask without its horizontal lines, except where ink is stronger than the line or goes on above and below."""
    height, cleared = len(mask), mask.copy()
    first, last = bool(rest[:2].any()), bool(rest[-2:].any())
    for top, bottom in _bands(np.any(lines, 1)):
        # The bars of a cropped 4, 5 or 7 go from side to side as well; the rest of it reaches the borders.
        near_top, near_bottom = top <= 0.1 * height, bottom >= 0.9 * height
        if last if near_top else first if near_bottom else first and last:
            continue
        line = lines[top:bottom]
        own = float(np.median(strength[top:bottom][line]))
        crossed = _crossed(mask & ~lines, int(line.sum() / line.shape[1]) + 2)[top:bottom]
        cleared[top:bottom] &= ~line | crossed | (strength[top:bottom] > STRONGER * own)
    return cleared


def _crossed(rest: Mask, reach: int) -> Mask:
    """Where there is ink both above and below, within so many pixels."""
    height = len(rest)
    tall = np.pad(dilate(dilate(rest, reach // 2 + 1, 0), 1, 1), ((reach, reach), (0, 0)))
    return tall[:height] & tall[2 * reach : 2 * reach + height]


def frames(labels: Labels) -> Mask:
    """The pixels of all frames among numbered shapes, -1 where there is none; and of what lies outside of them."""
    found, within = np.zeros(labels.shape, np.bool_), np.zeros(labels.shape, np.bool_)
    numbers, counts = np.unique(labels[labels >= 0], return_counts=True)
    if len(numbers) < 2:
        return found
    shapes = [labels == number for number in numbers[counts > SPECK * counts.max()]]
    boxes = np.array([bounding_box(shape) for shape in shapes])
    for shape, (left, top, right, bottom) in zip(shapes, boxes, strict=True):
        frame = shape[top:bottom, left:right]
        large = min(frame.shape[0] / labels.shape[0], frame.shape[1] / labels.shape[1]) > SMALLEST
        inside = (boxes[:, :2] > (left, top)).all(1) & (boxes[:, 2:] < (right, bottom)).all(1)
        longer = np.max(boxes[inside, 2:] - boxes[inside, :2], initial=0)
        others = (labels[top:bottom, left:right] >= 0) & ~frame
        ruled = longer > INSIDE * min(frame.shape) and _ruled(frame)
        open_sides = top > NEAR, labels.shape[0] - bottom > NEAR, left > NEAR, labels.shape[1] - right > NEAR
        if large and (ruled or (longer > CLOSED * min(frame.shape) and _encloses(frame, others, open_sides))):
            found |= shape
            within[top:bottom, left:right] = True
    return np.asarray(found | ((labels >= 0) & ~within), np.bool_) if found.any() else found


def _encloses(ring: Mask, others: Mask, open_sides: tuple[bool, bool, bool, bool]) -> bool:
    """Whether most of the others lie where no way leads out of the ring; above, below, left or right, if open there."""
    above, below, left, right = open_sides
    around = np.pad(~ring, 1)
    around[0], around[-1] = above, below
    around[1:-1, 0], around[1:-1, -1] = left, right
    ways = label(around)
    edge = np.concatenate([ways[0], ways[-1], ways[:, 0], ways[:, -1]])
    within = ~np.isin(ways[1:-1, 1:-1], edge[edge >= 0])
    return bool(np.count_nonzero(within & others) > 0.5 * np.count_nonzero(others))


def _ruled(shape: Mask) -> bool:
    """Whether a shape, cropped to its box, is nearly all straight runs along its sides."""
    straight = _runs(shape) | _runs(shape.T).T
    return bool(np.count_nonzero(straight) > RULED * np.count_nonzero(shape))


def _runs(shape: Mask) -> Mask:
    """The pixels in near-horizontal runs."""
    reach = int(RUN * shape.shape[1]) // 2
    padded = np.pad(dilate(shape, FRAME_LEAN, 0), ((0, 0), (1, 1)))  # else what is at the border would go on beyond it
    return dilate(erode(padded, reach, 1), reach, 1)[:, 1:-1] & shape
