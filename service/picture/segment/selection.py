"""Select the components of ink that make up the digit, among lines, edges, specks and neighbours.

In: labelled components, their strength and their colours. Out: a `Selection`. A broken 5 is one digit; a ruled line,
the edge of a page and a stroke of the cell beside are not part of it. It does not know backgrounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..geometry import border_distance
from .morphology import dilate_square, label
from .rulings import find_boxes, remove_rulings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Colours, Field, Labels, Mask

    Chosen = NDArray[np.bool_]  # [K]: some of K components

SPECK = 0.02  # of the main component's ink: less is dirt, wherever it is
PART = 0.05  # of the main component's ink: as much may belong to the digit from further away
NEAR = 0.07  # of the digit's size: the distance at which a small fragment still belongs
FAR = 0.33  # of the digit's size: the distance at which a part, like the bar of a 5, still belongs
EDGE = 0.08  # of the picture's shorter side: a component at the border with a smaller mean distance is an edge
FILLED, SQUARE = 0.65, 0.6  # of the box, and of its longer side: more is a blob
BLOB = 0.05  # of a digit's worth: a blob, or a filled bar, is chosen only where nothing else is
WIDE = 1.5  # times as wide as high, and filled: a button or a rule, and at most a part of a digit
SLIM = 0.5  # of the picture's longer side: then a line from border to border may be a 1
BEYOND = 0.5  # of a digit's worth: a component that continues beyond the picture's sides may be a neighbour
FLAT_PART, OVERLAP = 2, 0.35  # a lower part that is cut, less flat and hardly beside the digit, is of another line
FLAT = 3  # times as wide as high, and below all else: an underline
PRINT = 0.25  # of the digit's size: a flat component above all else that begins so far left is print, no bar of a 5
ASIDE = 1.5  # times: factor for horizontal distances, because parts of a digit are above each other
RIVAL = 0.35  # of the main component's ink: as much, and not a part, is another digit


class Selection(NamedTuple):
    """The ink of a picture, divided."""

    digit: Mask  # bool[H, W]; overlaps `foreign` where there is nothing better
    foreign: Mask  # bool[H, W]: lines, edges of pages, neighbours that reach in
    rivals: bool  # whether other components may be digits as well


class Components(NamedTuple):
    """Components and their measures, arrays of length K."""

    labels: Labels  # [H, W], 0 to K - 1; -1 outside
    ink: NDArray[np.float64]  # sum of cubed strengths, because smudges are large and weak
    depth: NDArray[np.float64]  # mean distance from the picture's border, as a share of its shorter side
    boxes: NDArray[np.int64]  # [K, 4] of left, top, right, bottom; right and bottom exclusive
    blob: Chosen  # whether it fills its nearly square box: a punched hole, a thumb
    bar: Chosen  # whether it fills its box, which is wider than high


def select(labels: Labels, faint: Mask, strength: Field, apart: Colours) -> Selection:
    """Divide labelled ink into the digit, what is foreign to every digit, and the rest.

    `faint` is the mask at a lower threshold, in which ruled lines are followed. Full ink has the strength 1, and
    `apart` is by how much the pixels' colours differ from the background.
    """
    mask = labels >= 0
    clean = remove_rulings(mask & ~find_boxes(labels), faint, strength, apart)
    if not clean.any():  # lines alone: in a slim picture, one that is cropped to its 1
        alone = mask if min(mask.shape) < SLIM * max(mask.shape) else clean
        return Selection(alone, mask, False)
    found = measure(clean, strength)
    # Edges of pages and neighbours are at the border; punched holes and dirt are blobs. They win only where there is
    # nothing else.
    worth = found.ink * np.clip(found.depth / 0.12, 0.1, 1) ** 2 * np.where(found.blob, BLOB, 1)
    edge = _at_edge(found, mask.shape)
    beyond = (found.boxes[:, 0] == 0) | (found.boxes[:, 2] == mask.shape[1])
    main = int((worth * np.where(found.bar, BLOB, 1) * np.where(beyond, BEYOND, 1)).argmax())
    share = worth / worth[main]
    left, top, right, bottom = found.boxes.T
    neighbour = beyond & ((right <= left[main]) | (left >= right[main]))
    if top[main] > 0 and bottom[main] < mask.shape[0]:  # else the picture may be cropped to its digit
        over = np.minimum(bottom, bottom[main]) - np.maximum(top, top[main])  # rows beside the digit
        flat = right - left > FLAT_PART * (bottom - top)  # as the bar of a 5
        lower = bottom - top < bottom[main] - top[main]
        cut = (top == 0) | (bottom == mask.shape[0])
        neighbour |= cut & lower & ~flat & (over < OVERLAP * (bottom - top))
    belongs = _assemble(found, main, share, edge | neighbour)
    rivals = bool(((share > RIVAL) & ~belongs & ~edge & ~found.bar).any())
    foreign = (mask & ~clean) | _pixels_of(edge, found.labels)
    return Selection(clean & _pixels_of(belongs, found.labels), foreign, rivals)


def fills_its_box(component: Mask) -> bool:
    """Whether a component, cropped to its box, fills so much of it that it hardly consists of strokes."""
    return bool(component.mean() > FILLED)


def measure(mask: Mask, strength: Field) -> Components:
    """Label the components, which may have gaps of up to two pixels, and measure them."""
    labels = np.where(mask, label(dilate_square(mask, 1)), -1)
    flat, count = labels[mask], int(labels.max(initial=-1)) + 1
    y, x = np.nonzero(mask)
    area = np.maximum(np.bincount(flat, minlength=count), 1)
    ink = np.bincount(flat, strength[mask].astype(np.float64) ** 3, count).astype(np.float64)
    depth = np.bincount(flat, border_distance(*mask.shape)[mask], count) / area
    boxes = np.stack([np.full(count, v) for v in (mask.shape[1], mask.shape[0], 0, 0)], 1)
    for at, values in ((0, x), (1, y)):
        np.minimum.at(boxes[:, at], flat, values)
        np.maximum.at(boxes[:, at + 2], flat, values + 1)
    sides = boxes[:, 2:] - boxes[:, :2]
    filled = area > FILLED * sides.prod(1)
    blob = filled & (sides.min(1) > SQUARE * sides.max(1))
    return Components(labels, ink, depth, boxes, blob, filled & (sides[:, 0] > WIDE * sides[:, 1]))


def _assemble(found: Components, main: int, share: NDArray[np.float64], foreign: Chosen) -> Chosen:
    """Which components make up the digit: the main one, then those that are near enough to it, until none is left."""
    belongs, boxes = np.asarray(np.arange(len(share)) == main, np.bool_), found.boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    flat = sides[:, 0] > FLAT * sides[:, 1]
    while True:
        members = boxes[belongs]
        size = float(np.max(members[:, 2:].max(0) - members[:, :2].min(0)))
        gap = np.min([_distances(boxes, member) for member in members], 0) / size
        underline = (flat | found.bar) & (boxes[:, 1] >= members[:, 3].max())
        printed = flat & (boxes[:, 3] <= members[:, 1].min()) & (boxes[:, 0] < members[:, 0].min() - PRINT * size)
        part = (share > PART) & (gap < FAR) & ~found.blob
        joins = (((share > SPECK) & (gap < NEAR)) | part) & ~foreign & ~underline & ~printed
        if not (joins & ~belongs).any():
            return belongs
        belongs |= joins


def _distances(boxes: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """The distances in pixels from each box to the other, 0 where they overlap; horizontal ones are weighted more."""
    left, top, right, bottom = other
    across = np.maximum(np.maximum(boxes[:, 0] - right, left - boxes[:, 2]), 0)
    down = np.maximum(np.maximum(boxes[:, 1] - bottom, top - boxes[:, 3]), 0)
    return np.asarray(np.hypot(ASIDE * across, down), np.float64)


def _pixels_of(which: Chosen, labels: Labels) -> Mask:
    """The pixels of some components; the label -1 belongs to none."""
    return np.asarray(np.append(which, False)[labels], np.bool_)


def _at_edge(found: Components, size: tuple[int, ...]) -> Chosen:
    """Which components run along the picture's border: edges of pages and tables, remains of boxes, neighbours."""
    height, width = size
    left, top, right, bottom = found.boxes.T
    near = 1 + round(0.02 * min(size))
    touches = (left < near) | (top < near) | (right > width - near) | (bottom > height - near)
    long = np.maximum((right - left) / width, (bottom - top) / height) > 0.45
    slim = np.minimum(right - left, bottom - top) < 0.08 * min(size)
    return np.asarray(touches & ((found.depth < EDGE) | (long & slim)), np.bool_)
