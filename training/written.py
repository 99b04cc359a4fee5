"""Digits of our own hand: shapes that people write and MNIST's writers seldom did, drawn in MNIST's own form.

In: a count and a seed. Out: `Digits`, as many of each class as of any other: a 1 with a flag or a foot, a 7 with a bar,
a 0 with a slash, an open 4, and the plain shapes too. MNIST's writers were American; the service's users need not be.
It knows how `strokes` writes, and nothing of pens and papers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from training.data import Digits
from training.strokes import draw

if TYPE_CHECKING:
    from torch import Tensor

SIDE: Final = 28
DIGIT_SIDE: Final = 20  # pixels of a digit's longer side, the pen's width included, as LeCun fitted them
SOFT: Final = 1  # pixels that the soft edges of strokes add
CENTRE: Final = 14  # of mass, in pixels, as in MNIST
PEN: Final = (1.8, 4.0)  # pixels, uniform: what MNIST's strokes measure but for the extremes
_Y, _X = (axis.reshape(1, -1) for axis in torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"))


def written(count: int, seed: int) -> Digits:
    """`count` digits, images uint8[count,1,28,28]; which, follows from the seed."""
    rng = np.random.default_rng(seed)
    labels = torch.arange(count) % 10
    images = torch.stack([_drawn(int(label), rng) for label in labels]) if count else torch.zeros(0, 1, SIDE, SIDE)
    return Digits((images * 255).round().to(torch.uint8), labels)


def _drawn(label: int, rng: np.random.Generator) -> Tensor:
    """One digit under a round pen: float32[1,28,28], 0 to 1."""
    pen = rng.uniform(*PEN)
    return _inked(_placed(torch.from_numpy(draw(label, rng)), pen), pen).reshape(1, SIDE, SIDE)


def _placed(segments: Tensor, pen: float) -> Tensor:
    """Segments float32[S,2,2] in pixels: the longer side fitted, the strokes' mass in the middle."""
    lengths = (segments[:, 1] - segments[:, 0]).norm(dim=1) + 1e-6
    mass: Tensor = (segments.mean(1) * lengths[:, None]).sum(0) / lengths.sum()
    return (segments - mass) * (DIGIT_SIDE - SOFT - pen) + CENTRE


def _inked(segments: Tensor, pen: float) -> Tensor:
    """How far the pen covers each pixel, 0 to 1: float32[784], from the distance to the nearest segment."""
    (left, top), (right, down) = (
        segments[:, 0, :, None].unbind(1),
        (segments[:, 1] - segments[:, 0])[..., None].unbind(1),
    )
    x, y = _X - left, _Y - top  # [S, 784]
    share = ((x * right + y * down) / (right.square() + down.square()).clamp(min=1e-6)).clamp(0, 1)
    nearest = ((x - share * right).square() + (y - share * down).square()).amin(0)
    return (pen / 2 + 0.5 - nearest.sqrt()).clamp(0, 1)
