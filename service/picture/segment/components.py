"""Connected components of a mask, in NumPy: about a millisecond at 144 x 144, without SciPy's or OpenCV's 30 MB.

In: `bool[H, W]`. Out: numbers, `int64[H, W]`. It knows nothing of pictures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # [H, W]


def label(mask: Mask) -> NDArray[np.int64]:
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
