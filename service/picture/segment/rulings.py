"""Straight lines of the paper in a mask of ink: grids, rules and frames, which are no part of a digit.

In: a mask, `bool[H, W]`. Out: the mask less what runs straight from border to border. Strokes that cross a line stay
whole. It does not know paper, colours nor digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .components import label
from .morphology import dilate, erode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .components import Mask
    from .surface import Field

STRAIGHT = 0.5  # of the picture's side: a run this long is straight
THICKEST = 0.09  # of the picture's longer side: a thicker band is no line
LEAN = 2  # pixels up or down that a line may lean over such a run
STRONGER = 1.6  # times a line's own strength: ink that lies on it
BORDER = 0.04  # of the picture's side: a line comes this near to the border at both its ends


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
