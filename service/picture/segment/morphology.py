"""Filters on arrays, in NumPy: smoothing, dilation and erosion, in a few passes over the array whatever the reach.

In and out: arrays `[H, W]` of the same shape. It knows nothing of pictures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...arrays import Labels, Mask

Values = TypeVar("Values", NDArray[np.float32], NDArray[np.bool_])


def smooth(values: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """The mean of each pixel's square of side 2 · reach + 1, the border repeated."""
    for _ in (0, 1):
        length = len(values)
        total = np.cumsum(_extended(values, reach), 0)
        total[2 * reach + 1 :] -= total[: length - 1].copy()
        values = (total[2 * reach :] / np.float32(2 * reach + 1)).T
    return values


def _extended(values: Values, reach: int) -> Values:
    """The first and last row repeated `reach` times more; several times faster than `np.pad`."""
    return values.take(np.arange(-reach, len(values) + reach), 0, mode="clip")


def dilate_square(values: Values, reach: int) -> Values:
    """The maximum over each pixel's square of side 2 · reach + 1."""
    return dilate(dilate(values, reach, 0), reach, 1)


def erode_square(values: Values, reach: int) -> Values:
    """The minimum over each pixel's square of side 2 · reach + 1."""
    return erode(erode(values, reach, 0), reach, 1)


def dilate(values: Values, reach: int, axis: int) -> Values:
    """The maximum over a line of 2 · reach + 1 pixels along the axis, by doubling: log2(reach) passes."""
    return _slide(values, reach, axis, np.maximum)


def erode(values: Values, reach: int, axis: int) -> Values:
    """The minimum over a line of 2 · reach + 1 pixels along the axis."""
    return _slide(values, reach, axis, np.minimum)


def _slide(values: Values, reach: int, axis: int, pick: np.ufunc) -> Values:
    if reach < 1:
        return values
    window, seen = 2 * reach + 1, 1
    best = _extended(values if axis == 0 else values.T, reach)
    while seen < window:
        step = min(seen, window - seen)
        best = pick(best[: len(best) - step], best[step:])
        seen += step
    return best if axis == 0 else best.T


def thicken(mask: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Dilation by a disc of this radius; the result is larger by its whole pixels on every side."""
    margin = int(np.ceil(reach))
    height, width = mask.shape
    grown = np.zeros((height + 2 * margin, width + 2 * margin), np.bool_)
    for down in range(-margin, margin + 1):
        span = int(np.sqrt(max(0.0, reach * reach - down * down)))
        if abs(down) > reach:
            continue
        row = np.pad(mask, ((0, 0), (margin, margin)))
        grown[margin + down : margin + down + height] |= dilate(row, span, 1)
    return grown


def thin(mask: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Erosion by a disc of this radius, the ground around taken as empty; same shape."""
    margin = int(np.ceil(reach))
    outside = thicken(np.pad(~mask, margin, constant_values=True), reach)
    return ~outside[2 * margin : -2 * margin or None, 2 * margin : -2 * margin or None]


def label(mask: Mask) -> Labels:
    """Number the 8-connected shapes of a mask from 0, -1 outside: runs of each row, joined where rows touch."""
    height, width = mask.shape
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)  # [H, W + 1]
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]  # exclusive
    labels = np.full((height, width), -1)
    if not len(rows):
        return labels
    # Runs sorted by row * stride + column: for each, the runs of the row below that it touches are one slice.
    stride = width + 2
    below = (rows + 1) * stride
    first = np.searchsorted(rows * stride + ends, below + starts, "left")
    last = np.searchsorted(rows * stride + starts, below + ends, "right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    lower = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + np.repeat(first, counts)
    numbers = _joined(len(rows), upper, lower)
    lengths = ends - starts
    labels[mask] = np.repeat(numbers, lengths)
    return labels


def _joined(count: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers 0.. of the groups that the pairs connect, by hooking the larger root to the smaller until all agree."""
    root = np.arange(count)
    while True:
        low = np.minimum(root[one], root[other])
        if np.array_equal(root[one], root[other]):
            return np.asarray(np.unique(root, return_inverse=True)[1], np.int64)
        np.minimum.at(root, root[one], low)
        np.minimum.at(root, root[other], low)
        while not np.array_equal(root, root[root]):
            root = root[root]
