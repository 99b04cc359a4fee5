"""Find straight lines in a mask of ink, a little askew as photographs show them: rules, sides of boxes, edges.

In: a mask, `bool[H, W]`. Out: `Line`s, each with its place and its thickness. Whether a line is a rule or a stroke of
a digit, it does not know.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .morphology import dilate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Mask

LEAN = 0.1  # of its length: a line is at most so much askew
SHORTEST = 0.3  # of the picture's side: a shorter line is not looked for
THICKEST = 0.09  # of the picture's longer side: a thicker band is no line
TRIES = 10  # runs of ink that are looked at in one direction
TAKEN = 0.2  # of a run: so much may be a line's that was looked at before
PLAIN = 0.35  # of a line's length: at least so much of it is not thickened by strokes
STRAIGHT = 1.0  # pixels of mean distance from the middle: more is a curve


class Line(NamedTuple):
    """A nearly horizontal line."""

    first: int  # column where it begins
    last: int  # column where it ends, inclusive
    middle: NDArray[np.int64]  # the row of its middle in every column of the picture, int64[W]
    thick: float  # pixels
    of_other_pen: bool = False  # than the digit's strokes, as far as is known
    colour: NDArray[np.float32] | None = None  # unit vector float32[C], where it is another than that of the strokes


def find_lines(mask: Mask) -> list[Line]:
    """Find nearly horizontal lines, the longest first."""
    height, width = mask.shape
    margin, rows = _margin(width), _sheared_rows(height, width)  # [S, H, W]
    padded = np.zeros((height + 2 * margin, width), np.bool_)
    padded[margin : margin + height] = dilate(mask, 1, 0)
    sheared = padded.ravel().take(rows).reshape(-1, width)
    candidates = np.flatnonzero(np.count_nonzero(sheared, 1) >= SHORTEST * width)
    if not len(candidates):
        return []
    columns = np.arange(width, dtype=np.int32)
    gaps = np.maximum.accumulate(np.where(sheared[candidates], -1, columns), 1)
    runs = columns - gaps
    lengths, lasts = runs.max(1), runs.argmax(1)
    order = np.lexsort((np.abs(candidates // height - len(rows) // 2), -lengths))
    order = order[lengths[order] >= SHORTEST * width]
    found: list[Line] = []
    taken, tried = np.zeros(padded.shape, np.bool_), 0
    flat = taken.reshape(-1)
    paths = rows.reshape(-1, width)
    for candidate, length, last in zip(
        candidates[order].tolist(), lengths[order].tolist(), lasts[order].tolist(), strict=True
    ):
        if tried == TRIES:
            break
        first = last - length + 1
        if np.count_nonzero(flat.take(paths[candidate, first : last + 1])) > TAKEN * length:
            continue
        tried += 1
        shift, row = divmod(candidate, height)
        middle = row + _offsets(width)[shift]
        line = _measure(mask, first, last, middle)
        if line is not None:
            found.append(line)
            middle = line.middle
        half = 2 if line is None else int(line.thick / 2) + 2
        rows_taken = middle[first : last + 1] + np.arange(-half, half + 1)[:, None]
        taken[(rows_taken + margin).clip(0, len(taken) - 1), columns[first : last + 1]] = True
    return found


def straighten(mask: Mask, middle: NDArray[np.int64], reach: int) -> Mask:
    """The rows up to `reach` above and below a line, straightened: bool[2 · reach + 1, W]."""
    height, width = mask.shape
    rows = middle + np.arange(-reach, reach + 1)[:, None]
    inside = (rows >= 0) & (rows < height)
    return np.asarray(mask[rows.clip(0, height - 1), np.arange(width)] & inside, np.bool_)


def _measure(mask: Mask, first: int, last: int, middle: NDArray[np.int64]) -> Line | None:
    """Measure the line along a run of ink; None if it is a wide band, a curve, or thickened nearly everywhere."""
    reach = int(THICKEST * max(mask.shape)) + 1
    strip = straighten(mask, middle, reach)[:, first : last + 1]
    # From the middle, or a pixel beside it, to the first gap above and below.
    centre = np.argmax(strip[[reach, reach - 1, reach + 1]], 0)
    at = reach + np.array([0, -1, 1])[centre]
    index = np.arange(2 * reach + 1)[:, None]
    above = np.where(~strip & (index < at), index, -1).max(0)
    below = np.where(~strip & (index > at), index, 2 * reach + 1).min(0)
    thick = below - above - 1
    usual = float(np.sort(thick)[len(thick) // 4])
    plain = np.flatnonzero(thick <= usual + 1)
    if usual > THICKEST * max(mask.shape) or len(plain) < PLAIN * len(thick):
        return None
    columns = first + plain
    centres = middle[columns] + (above + below)[plain] / 2 - reach
    across, level = columns - columns.mean(), centres.mean()
    slope = float(across @ centres / max(1.0, across @ across))
    if np.abs(centres - level - slope * across).mean() > STRAIGHT:
        return None
    level -= slope * columns.mean()
    return Line(first, last, np.rint(slope * np.arange(mask.shape[1]) + level).astype(np.int64), usual)


def _margin(width: int) -> int:
    return int(LEAN * width / 2) + 1


@lru_cache(maxsize=16)
def _offsets(width: int) -> NDArray[np.int64]:
    """The rows by which lines of every slope are above or below their middle, int64[S, W]."""
    most = int(LEAN * width)
    shifts = np.arange(-most, most + 1, 2)
    return np.rint(shifts[:, None] * (np.arange(width) / width - 0.5)).astype(np.int64)


@lru_cache(maxsize=4)  # of a megabyte each
def _sheared_rows(height: int, width: int) -> NDArray[np.int64]:
    """The flat indices, in a picture with a margin above and below, of its pixels sheared by every slope."""
    rows = _margin(width) + np.arange(height)[None, :, None] + _offsets(width)[:, None, :]
    return rows * width + np.arange(width)
