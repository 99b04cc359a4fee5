"""The geometry of masks: boxes, crops, the thickness of strokes, and how far inside a picture a pixel is.

In: masks and sizes, in pixels. Out: boxes, masks and numbers. It knows nothing of digits or backgrounds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Field, Mask

Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive


def bounding_box(mask: Mask) -> Box:
    """Left, top, right, bottom; right and bottom exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def cropped(mask: Mask) -> Mask:
    """The mask within its box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def thickness(strokes: Mask) -> float:
    """Mean thickness of strokes in pixels: twice the area over the outline, whose length Crofton's crossings give."""
    padded = np.pad(strokes, 1)
    crossings = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    return 2 * np.count_nonzero(strokes) / max(1.0, crossings * np.pi / 4)


@lru_cache(maxsize=64)
def depth(height: int, width: int) -> Field:
    """How far inside each pixel lies, as a share of the shorter side: 0 at the border, 0.5 in the middle."""
    down = np.minimum(np.arange(height), np.arange(height)[::-1])
    across = np.minimum(np.arange(width), np.arange(width)[::-1])
    inside = (np.minimum(down[:, None], across[None, :]) / min(height, width)).astype(np.float32)
    inside.flags.writeable = False  # shared by all who ask
    return inside
