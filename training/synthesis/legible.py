"""Whether a prepared picture shows what was drawn, so that its label is true.

In: the pixels that the service's preparation made, and the segments that were drawn. Out: yes or no. It does not know
how a picture was rendered or prepared.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageFilter

from ..data.digits import SIDE
from . import papers, pens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .strokes import Segments

FIT: Final = 20  # MNIST's digits fill a box of so many pixels, centred by mass
STROKE: Final = 2.5  # pixels
ALIKE: Final = 0.8  # below, a rule, a neighbour or a shadow was taken for the digit, or hides it
_MIDDLE: Final = (SIDE - 1) / 2


def shows(pixels: NDArray[np.uint8], drawn: Segments) -> bool:
    """Whether pixels uint8[28,28] are the digit: both blurred, they correlate with its segments in a box as MNIST's."""
    return float(np.corrcoef(_blur(pixels), _blur(_fit(drawn)))[0, 1]) >= ALIKE


def is_plain_one(pixels: NDArray[np.uint8]) -> bool:
    """Whether pixels uint8[28,28], not all 0, are one thin upright stroke, which nobody can tell from a 1."""
    weights = pixels / max(1.0, float(pixels.sum()))
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    (across, both), (_, down) = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=weights.ravel(), ddof=0)
    thin, long = np.sqrt(np.maximum(np.linalg.eigvalsh([[across, both], [both, down]]), 0))
    lean = math.degrees(0.5 * math.atan2(2 * both, down - across))
    return bool(thin < 2 and long > 4 and abs(lean) < 35)


def _fit(drawn: Segments) -> NDArray[np.uint8]:
    """Draw segments with a pen of `STROKE` pixels in MNIST's box, uint8[28,28]."""
    at = np.asarray(drawn * (FIT - STROKE) + _MIDDLE, np.float32)
    thickness = pens.keep_thickness(at, STROKE)
    cover = papers.coverage(at, SIDE, SIDE, thickness)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    mass = np.array([(cover * x).sum(), (cover * y).sum()], np.float32) / cover.sum()
    return papers.to_bytes(papers.coverage(at + np.float32(_MIDDLE) - mass, SIDE, SIDE, thickness))


def _blur(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.5)), np.float32).ravel()
