"""Pictures: real digits, a seven, and ways to make files of them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from tests.support.service import ROOT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.arrays import Pixels


SEVEN_FILE = ROOT / "service" / "page" / "seven.png"
SEVEN = SEVEN_FILE.read_bytes()


def drawn(side: int) -> Pixels:
    """A one on paper."""
    paper = np.full((side, side), 230, np.uint8)
    paper[side // 5 : -side // 5, side * 9 // 20 : side * 11 // 20] = 20
    return paper


class Digits(NamedTuple):
    """MNIST's test digits."""

    images: Pixels  # uint8[N,28,28]
    labels: NDArray[np.int64]  # int64[N]


def png(pixels: Pixels, **options: object) -> bytes:
    """A picture as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()
