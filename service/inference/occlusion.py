"""Why this digit: what the network saw, and where the answer hangs on it.

In: a prepared picture uint8[28,28] and a way to classify. Out: PNGs in base64 and the heat map's numbers. Occlusion
(Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2): cover a patch, ask again, and see what the answer's probability
loses. All covered pictures are one batch. It knows neither HTTP nor how the picture was made.
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
    """uint8[28,28], lighter where covering the ink costs the answered digit more of its probability."""
    corners = [
        (row, column)
        for row in range(0, 28 - PATCH + 1, STRIDE)
        for column in range(0, 28 - PATCH + 1, STRIDE)
        if pixels[row : row + PATCH, column : column + PATCH].any()  # covering nothing changes nothing
    ]
    covered = np.repeat(pixels[None, None], len(corners) + 1, axis=0)  # the last one stays whole
    for index, (row, column) in enumerate(corners):
        covered[index, 0, row : row + PATCH, column : column + PATCH] = 0
    probability = (await predict(covered))[:, digit]
    return _spread(corners, np.clip(probability[-1] - probability[:-1], 0, 1))


def _spread(corners: list[tuple[int, int]], loss: NDArray[np.float32]) -> Pixels:
    """Each pixel's mean loss over the patches that covered it, as grey levels; the greatest is 255."""
    total, count = np.zeros((28, 28)), np.zeros((28, 28))
    for (row, column), value in zip(corners, loss, strict=True):
        total[row : row + PATCH, column : column + PATCH] += value
        count[row : row + PATCH, column : column + PATCH] += 1
    mean = total / np.maximum(count, 1)
    return np.asarray(mean * (255 / max(mean.max(), 1e-6)), np.uint8)


def png(pixels: Pixels) -> str:
    """A grey picture uint8[H,W] as PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
