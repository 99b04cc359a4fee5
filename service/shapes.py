"""Shapes in a mask of ink: which of them are the digit, and which are lines, edges, specks and neighbours.

In: a mask, `bool[H, W]`, and the strength of its pixels. Out: the digit's part of the mask. A broken 5 is one digit; a grid
line, a page's edge and a stroke of the cell beside are none. It does not know paper, colours nor the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.ground import depth
from service.lines import without_lines
from service.morphology import dilate_square

if TYPE_CHECKING:
    from service.ground import Field

Mask = NDArray[np.bool_]  # [H, W]

SPECK = 0.012  # of the main shape's ink: less is dirt, wherever it lies
PART = 0.05  # of the main shape's ink: as much may belong to the digit from further away
NEAR = 0.1  # of the main shape's size: how far off a small fragment still belongs
FAR = 0.33  # of the main shape's size: how far off a part, like the bar of a 5, still belongs
EDGE = 0.08  # of the picture's shorter side: a shape at the border that reaches no deeper, in the mean, is an edge
RIVAL = 0.35  # of the main shape's ink: as much, and not a part, is another shape


class Sorted(NamedTuple):
    """The ink of a picture, sorted."""

    digit: Mask  # bool[H, W]; may overlap what is foreign, where there is nothing better
    foreign: Mask  # bool[H, W]: lines, edges of pages, neighbours reaching in
    rivals: bool  # whether other shapes lie beside the digit that may be digits as well


class Shapes(NamedTuple):
    """Numbered shapes and what is known of each, arrays of length K."""

    labels: NDArray[np.int64]  # [H, W], -1 where there is none
    ink: NDArray[np.float64]  # summed strength
    depth: NDArray[np.float64]  # mean distance from the picture's border, as a share of its shorter side
    boxes: NDArray[np.int64]  # [K, 4] of left, top, right, bottom; right and bottom exclusive


def sort_out(mask: Mask, strength: Field) -> Sorted:
    """Sort the ink of a mask into the digit, what is foreign to every digit, and the rest."""
    clean = without_lines(mask)
    shapes = measure(clean, strength)
    if not len(shapes.ink):
        return Sorted(clean, mask & ~clean, False)
    # At the border lie page edges and neighbours; a digit there wins only where nothing else is.
    worth = shapes.ink * np.clip(shapes.depth / 0.12, 0.1, 1) ** 2
    main = int(worth.argmax())
    size = max(int(np.ptp(shapes.boxes[main, ::2])), int(np.ptp(shapes.boxes[main, 1::2])))
    gap = _gaps(shapes.boxes, main) / size
    share = worth / worth[main]
    edge = _edge(shapes, mask.shape)
    belongs = (((share > SPECK) & (gap < NEAR)) | ((share > PART) & (gap < FAR))) & ~edge
    belongs[main] = True
    rivals = bool(((share > RIVAL) & ~belongs & ~edge).any())
    foreign = (mask & ~clean) | _chosen(edge, shapes.labels)
    return Sorted(clean & _chosen(belongs, shapes.labels), foreign, rivals)


def _chosen(which: NDArray[np.bool_], labels: NDArray[np.int64]) -> Mask:
    """The pixels of the chosen shapes; the label -1 is none of them."""
    return np.asarray(np.append(which, False)[labels], np.bool_)


def _edge(shapes: Shapes, size: tuple[int, ...]) -> Mask:
    """Which shapes cling to the picture's border: edges of pages and tables, what is left of frames, neighbours."""
    height, width = size
    left, top, right, bottom = shapes.boxes.T
    near = 1 + round(0.02 * min(size))
    touches = (left < near) | (top < near) | (right > width - near) | (bottom > height - near)
    long = np.maximum((right - left) / width, (bottom - top) / height) > 0.45
    slim = np.minimum(right - left, bottom - top) < 0.08 * min(size)
    return np.asarray(touches & ((shapes.depth < EDGE) | (long & slim)), np.bool_)


def measure(mask: Mask, strength: Field) -> Shapes:
    """Number the shapes, taking pixels up to two apart as one, and measure them."""
    labels = np.where(mask, label(dilate_square(mask, 1)), -1)
    flat, count = labels[mask], int(labels.max(initial=-1)) + 1
    y, x = np.nonzero(mask)
    pixels = np.maximum(np.bincount(flat, minlength=count), 1)
    ink = np.bincount(flat, strength[mask], count)
    deep = np.bincount(flat, depth(*mask.shape)[mask], count) / pixels
    boxes = np.stack([np.full(count, v) for v in (mask.shape[1], mask.shape[0], 0, 0)], 1)
    for at, values in ((0, x), (1, y)):
        np.minimum.at(boxes[:, at], flat, values)
        np.maximum.at(boxes[:, at + 2], flat, values + 1)
    return Shapes(labels, ink, deep, boxes)


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


def _gaps(boxes: NDArray[np.int64], main: int) -> NDArray[np.float64]:
    """The distance in pixels between each box and the main one, 0 where they overlap."""
    left, top, right, bottom = boxes[main]
    across = np.maximum(np.maximum(boxes[:, 0] - right, left - boxes[:, 2]), 0)
    down = np.maximum(np.maximum(boxes[:, 1] - bottom, top - boxes[:, 3]), 0)
    return np.hypot(across, down)
