"""Digits that lean, made to stand: the fixed layer that takes slant away, so that no weights are spent on it.

In: images [N,1,28,28] of 0 to 255, light ink on dark. Out: float32 of the part of the frame that was asked for. It
knows nothing of weights.
"""

from __future__ import annotations

from itertools import product
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

SIDE: Final = 28
STEEPEST: Final = 1.0  # pixels across for one down, 45 degrees: what leans further is no slant of a hand
THINNEST: Final = 0.1  # square pixels, the variance of the heights: less is a lying line, which has no slant


class Frame(NamedTuple):
    """A part of the 28×28 pixels: from its first row and column to before its last."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def moved(self, down: int, right: int) -> Frame:
        """The frame of the same size, so many pixels away."""
        return Frame(self.top + down, self.bottom + down, self.left + right, self.right + right)

    def crop(self, images: Tensor) -> Tensor:
        """This part [..., R, C] of images [..., 28, 28]."""
        return images[..., self.top : self.bottom, self.left : self.right]


WHOLE: Final = Frame(0, SIDE, 0, SIDE)
UPRIGHT: Final = Frame(1, 27, 3, 25)  # beyond it, 1 in 10,000 of the ink of MNIST's digits is left when they stand

SHIFTS: Final = tuple(product((-1, 0, 1), repeat=2))  # pixels down and right, for which `UPRIGHT` leaves room


class Upright(nn.Module):
    """Shears each image sideways until its mixed second moment is 0, its mass in the middle column (LeCun et al. 1998).

    Each row moves as a whole, by a distance linear in its height, between two pixels by linear interpolation. A blank
    image stays as it is.
    """

    def __init__(self, frame: Frame) -> None:
        super().__init__()
        self._frame = frame
        y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        self.starts: Tensor
        self.rows: Tensor
        self.columns: Tensor
        self.moments: Tensor
        self._constant("starts", self._part(y * SIDE))
        y, x = y - SIDE // 2, x - SIDE // 2
        self._constant("rows", self._part(y))
        self._constant("columns", self._part(x) + SIDE / 2 + 0.5)
        # Whole numbers: sums of bytes times these are exact in float32, in any order, so every runtime finds the same.
        self._constant("moments", torch.stack([torch.ones_like(x), x, y, x * y, y * y], dim=-1).reshape(SIDE**2, 5))

    def forward(self, images: Tensor) -> Tensor:
        """The frame, float32[N,1,R,C], of images [N,1,28,28] made to stand."""
        pixels = images.reshape(-1, SIDE**2).to(self.moments.dtype)
        mass, means = torch.split(pixels @ self.moments, [1, 4], dim=1)
        x, y, xy, yy = torch.split(means / mass.clamp(min=1), 1, dim=1)  # [N,1] each
        slant = ((xy - x * y) / (yy - y * y).clamp(min=THINNEST)).clamp(-STEEPEST, STEEPEST)
        # The column where each pixel of the frame is read: [N,R·C].
        across = (slant * self.rows + (x - slant * y) + self.columns).clamp(0.0, SIDE - 1.001)
        left = across.floor()
        index = (left + self.starts).long()
        one, next_ = pixels.gather(1, index), pixels.gather(1, index + 1)
        return (one + (next_ - one) * (across - left)).reshape(-1, 1, *self._frame.shape)

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.float(), persistent=False)

    def _part(self, values: Tensor) -> Tensor:
        """What of values [28,28] lies in the frame, flat."""
        return self._frame.crop(values).flatten()
