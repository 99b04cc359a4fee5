"""Shapes in a mask of ink: which of them are the digit, and which are lines, edges, specks and neighbours.

In: a mask, `bool[H, W]`, and the strength of its pixels. Out: the digit's part of the mask. A broken 5 is one digit; a
grid line, a page's edge and a stroke of the cell beside are none. It does not know paper, colours nor the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..geometry import depth
from .morphology import dilate_square, label
from .rulings import frames, without_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Field, Mask

SPECK = 0.02  # of the main shape's ink: less is dirt, wherever it lies
PART = 0.05  # of the main shape's ink: as much may belong to the digit from further away
NEAR = 0.07  # of the main shape's size: how far off a small fragment still belongs
FAR = 0.33  # of the main shape's size: how far off a part, like the bar of a 5, still belongs
EDGE = 0.08  # of the picture's shorter side: a shape at the border that reaches no deeper, in the mean, is an edge
FILLED, SQUARE = 0.65, 0.6  # of the box, and of its longer side: more is a blob
BLOB = 0.05  # of a digit's worth: a blob, or a lying bar, is chosen only where nothing else is
LYING = 1.5  # times as wide as high, and filled: a button or a rule, and at most a part of a digit
BEYOND = 0.5  # of a digit's worth: what goes on beyond the picture's sides may be a neighbour
FLAT = 3  # times as wide as high, and below all else: the digit is underlined
PRINT = 0.25  # of the digit's size: what is flat, above all else, and begins so far left, is print and no bar of a 5
ASIDE = 1.5  # times as far is what lies beside: parts of a digit lie above each other
RIVAL = 0.35  # of the main shape's ink: as much, and not a part, is another shape


class Sorted(NamedTuple):
    """The ink of a picture, sorted."""

    digit: Mask  # bool[H, W]; may overlap what is foreign, where there is nothing better
    foreign: Mask  # bool[H, W]: lines, edges of pages, neighbours reaching in
    rivals: bool  # whether other shapes lie beside the digit that may be digits as well


class Shapes(NamedTuple):
    """Numbered shapes and what is known of each, arrays of length K."""

    labels: NDArray[np.int64]  # [H, W], -1 where there is none
    ink: NDArray[np.float64]  # summed cube of the strength: smudges are large and weak
    depth: NDArray[np.float64]  # mean distance from the picture's border, as a share of its shorter side
    boxes: NDArray[np.int64]  # [K, 4] of left, top, right, bottom; right and bottom exclusive
    blob: NDArray[np.bool_]  # whether it fills its nearly square box: a punched hole, a thumb
    lying: NDArray[np.bool_]  # whether it fills its box, which is wider than high


def sort_out(numbered: NDArray[np.int64], faint: Mask, strength: Field) -> Sorted:
    """Sort the ink of numbered shapes into the digit, what is foreign to every digit, and the rest.

    `faint` is the mask at a lower threshold, in which lines are followed. `strength` is 1 at the level of full ink.
    """
    mask = numbered >= 0
    clean = without_lines(mask & ~frames(numbered), faint, strength)
    if not clean.any():  # a line alone, which may be a 1
        return Sorted(mask, mask, False)
    shapes = measure(clean, strength)
    # At the border lie page edges and neighbours, and blobs are punched holes and dirt: they win only where nothing
    # else is.
    worth = shapes.ink * np.clip(shapes.depth / 0.12, 0.1, 1) ** 2 * np.where(shapes.blob, BLOB, 1)
    edge = _edge(shapes, mask.shape)
    beyond = (shapes.boxes[:, 0] == 0) | (shapes.boxes[:, 2] == mask.shape[1])
    main = int((worth * np.where(shapes.lying, BLOB, 1) * np.where(beyond, BEYOND, 1)).argmax())
    share = worth / worth[main]
    left, _, right, _ = shapes.boxes.T
    neighbour = beyond & ((right <= left[main]) | (left >= right[main]))
    belongs = _together(shapes, main, share, edge | neighbour)
    rivals = bool(((share > RIVAL) & ~belongs & ~edge & ~shapes.lying).any())
    foreign = (mask & ~clean) | _chosen(edge, shapes.labels)
    return Sorted(clean & _chosen(belongs, shapes.labels), foreign, rivals)


def fills_its_box(shape: Mask) -> bool:
    """Whether a shape, cropped to its box, is hardly one of strokes."""
    return bool(shape.mean() > FILLED)


def _together(shapes: Shapes, main: int, share: NDArray[np.float64], foreign: Mask) -> Mask:
    """Which shapes make up the digit: the main one, then what is near enough to what belongs already."""
    belongs, boxes = np.asarray(np.arange(len(share)) == main, np.bool_), shapes.boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    flat = sides[:, 0] > FLAT * sides[:, 1]
    while True:
        members = boxes[belongs]
        size = float(np.max(members[:, 2:].max(0) - members[:, :2].min(0)))
        gap = np.min([_gaps(boxes, member) for member in members], 0) / size
        underline = (flat | shapes.lying) & (boxes[:, 1] >= members[:, 3].max())
        printed = flat & (boxes[:, 3] <= members[:, 1].min()) & (boxes[:, 0] < members[:, 0].min() - PRINT * size)
        part = (share > PART) & (gap < FAR) & ~shapes.blob
        joins = (((share > SPECK) & (gap < NEAR)) | part) & ~foreign & ~underline & ~printed
        if not (joins & ~belongs).any():
            return belongs
        belongs |= joins


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
    ink = np.bincount(flat, strength[mask].astype(np.float64) ** 3, count).astype(np.float64)
    deep = np.bincount(flat, depth(*mask.shape)[mask], count) / pixels
    boxes = np.stack([np.full(count, v) for v in (mask.shape[1], mask.shape[0], 0, 0)], 1)
    for at, values in ((0, x), (1, y)):
        np.minimum.at(boxes[:, at], flat, values)
        np.maximum.at(boxes[:, at + 2], flat, values + 1)
    sides = boxes[:, 2:] - boxes[:, :2]
    filled = pixels > FILLED * sides.prod(1)
    blob = filled & (sides.min(1) > SQUARE * sides.max(1))
    return Shapes(labels, ink, deep, boxes, blob, filled & (sides[:, 0] > LYING * sides[:, 1]))


def _gaps(boxes: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """The distance in pixels between each box and the other, 0 where they overlap; longer sideways."""
    left, top, right, bottom = other
    across = np.maximum(np.maximum(boxes[:, 0] - right, left - boxes[:, 2]), 0)
    down = np.maximum(np.maximum(boxes[:, 1] - bottom, top - boxes[:, 3]), 0)
    return np.asarray(np.hypot(ASIDE * across, down), np.float64)
