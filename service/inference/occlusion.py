"""Explain a prediction with an occlusion map: the ink that the prediction depends on.

In: a prepared picture uint8[28,28], and a function that classifies. Out: the map uint8[28,28], and PNGs in base64.
Method (Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2): cover one patch after the other, and measure how much the
predicted digit's probability falls. All covered pictures are one batch.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from numpy.typing import NDArray

    from ..arrays import Pixels, Probabilities

PATCH, STRIDE = 5, 2


async def heat_map(pixels: Pixels, digit: int, predict: Callable[[Pixels], Awaitable[Probabilities]]) -> Pixels:
    """Return the occlusion map uint8[28,28] of a predicted digit: lighter pixels cost more probability if covered."""
    corners = [
        (row, column)
        for row in range(0, 28 - PATCH + 1, STRIDE)
        for column in range(0, 28 - PATCH + 1, STRIDE)
        if pixels[row : row + PATCH, column : column + PATCH].any()  # covering nothing changes nothing
    ]
    covered = np.repeat(pixels[None, None], len(corners) + 1, axis=0)  # the last one stays uncovered
    for index, (row, column) in enumerate(corners):
        covered[index, 0, row : row + PATCH, column : column + PATCH] = 0
    probability = (await predict(covered))[:, digit]
    return _spread(corners, np.clip(probability[-1] - probability[:-1], 0, 1))


def _spread(corners: list[tuple[int, int]], loss: NDArray[np.float32]) -> Pixels:
    """Return each pixel's mean loss over the patches that cover it, as uint8[28,28]; the greatest is 255."""
    total, count = np.zeros((28, 28)), np.zeros((28, 28))
    for (row, column), value in zip(corners, loss, strict=True):
        total[row : row + PATCH, column : column + PATCH] += value
        count[row : row + PATCH, column : column + PATCH] += 1
    mean = total / np.maximum(count, 1)
    return np.asarray(mean * (255 / max(mean.max(), 1e-6)), np.uint8)


def png(pixels: Pixels) -> str:
    """Encode a grey picture uint8[H,W] as PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
