"""The geometry of masks: boxes, crops, stroke thickness, and distances from the border of a picture.

In: masks, or a size in pixels. Out: boxes, masks and numbers. It does not know what a mask shows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Field, Mask

Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom exclusive


def bounding_box(mask: Mask) -> Box:
    """Return the box of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def crop(mask: Mask) -> Mask:
    """Crop a mask that is not empty to its box."""
    left, top, right, bottom = bounding_box(mask)
    return mask[top:bottom, left:right]


def thickness(strokes: Mask) -> float:
    """Return the mean thickness of strokes in pixels: twice their area divided by the length of their outline.

    The length follows from the number of crossings with the pixel grid (Crofton's formula).
    """
    padded = np.pad(strokes, 1)
    crossings = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    return 2 * np.count_nonzero(strokes) / max(1.0, crossings * np.pi / 4)


@lru_cache(maxsize=64)
def border_distance(height: int, width: int) -> Field:
    """Return each pixel's distance from the border, as a share of the shorter side: 0 at the border, 0.5 at most."""
    down = np.minimum(np.arange(height), np.arange(height)[::-1])
    across = np.minimum(np.arange(width), np.arange(width)[::-1])
    distance = (np.minimum(down[:, None], across[None, :]) / min(height, width)).astype(np.float32)
    distance.flags.writeable = False  # all callers share it
    return distance
