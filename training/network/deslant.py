"""The fixed layer that removes the slant of digits, so that the network spends no weights on it.

In: images [N,1,28,28] of 0 to 255, light ink on dark. Out: float32 of a frame of them.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import torch
from torch import Tensor, nn

from ..data.digits import SIDE, Frame

STEEPEST: Final = 1.0  # pixels across for one down, 45 degrees: no hand slants more
THINNEST: Final = 0.1  # square pixels, the variance of the heights: a horizontal line has less, and no slant


DESLANTED: Final = Frame(1, 27, 3, 25)  # outside it is 1 in 10,000 of the ink of MNIST's deslanted digits

SHIFTS: Final = tuple(product((-1, 0, 1), repeat=2))  # pixels down and right: `DESLANTED` leaves room for them


class Deslant(nn.Module):
    """Shears each image sideways until its mixed second moment is 0, its mass in the middle column (LeCun et al. 1998).

    Each row moves as a whole, by a distance linear in its height, with linear interpolation between two pixels. A
    blank image does not change.
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
        """Return the frame, float32[N,1,R,C], of images [N,1,28,28], deslanted."""
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
        """Return the values [28,28] inside the frame, flat."""
        return self._frame.crop(values).flatten()
