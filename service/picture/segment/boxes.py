"""Frames around the digit in a mask of ink: boxes of forms, cells of grids, circles, the edges of a page.

In: numbered shapes, `int64[H, W]`. Out: which pixels are a frame's, or outside of all frames if there are any.
Something of a digit's size lies inside a frame, which is ruled (nearly all its ink lies in straight runs along its
sides), or closed, if only by the picture's border. It does not know paper, colours nor digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .components import label
from .morphology import dilate, erode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .components import Mask

RUN = 0.7  # of the shape's side: a run this long is straight
LEAN = 1  # pixels up or down that the paper may lean, beside the line's own thickness
RULED = 0.85  # of the shape's ink is in straight runs: people do not write like this
SMALLEST = 0.4  # of the picture's sides: smaller is a part of a digit
SPECK = 0.05  # of the largest shape's pixels: less is neither a frame nor in one
CLOSED = 0.3  # of the ring's shorter side: what is as long, and inside a closed ring, may be a digit
NEAR = 2  # pixels: a ring that comes so near to the picture's border goes on beyond it
INSIDE = 0.12  # of the frame's shorter side: what is as long, and inside, may be a digit


def frames(labels: NDArray[np.int64]) -> Mask:
    """The pixels of all frames among numbered shapes, -1 where there is none; and of what lies outside of them."""
    found, within = np.zeros(labels.shape, np.bool_), np.zeros(labels.shape, np.bool_)
    numbers, counts = np.unique(labels[labels >= 0], return_counts=True)
    if len(numbers) < 2:
        return found
    shapes = [labels == number for number in numbers[counts > SPECK * counts.max()]]
    boxes = np.array([_box(shape) for shape in shapes])
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


def _box(shape: Mask) -> tuple[int, int, int, int]:
    """Left, top, right, bottom; right and bottom exclusive."""
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


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
    padded = np.pad(dilate(shape, LEAN, 0), ((0, 0), (1, 1)))  # else what is at the border would go on beyond it
    return dilate(erode(padded, reach, 1), reach, 1)[:, 1:-1] & shape
