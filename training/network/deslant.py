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
        place = torch.arange(SIDE) - SIDE // 2
        one = torch.ones_like(place)
        rows, columns = place[frame.top : frame.bottom, None], place[frame.left : frame.right]
        self.rows: Tensor
        self.columns: Tensor
        self.across: Tensor
        self.down: Tensor
        self._constant("rows", rows)  # [R,1]
        self._constant("columns", columns + SIDE / 2 + 0.5)  # [C]
        # Whole numbers: sums of bytes times these are exact in float32, in any order, so every runtime finds the same.
        self._constant("across", torch.stack([one, place], dim=1))  # [28,2]: of each row, the mass and its first moment
        zero = torch.zeros_like(place)
        of_mass = torch.stack([one, zero, place, zero, place * place], dim=1)
        of_moment = torch.stack([zero, one, zero, place, zero], dim=1)
        self._constant("down", torch.stack([of_mass, of_moment], dim=1).reshape(2 * SIDE, 5))

    def forward(self, images: Tensor) -> Tensor:
        """Return the frame, float32[N,1,R,C], of images [N,1,28,28], deslanted."""
        pixels = images.reshape(-1, SIDE, SIDE).to(self.rows.dtype)
        sums = (pixels @ self.across).reshape(-1, 1, 2 * SIDE) @ self.down  # [N,1,5]
        mass, means = torch.split(sums, [1, 4], dim=2)
        x, y, xy, yy = torch.split(means / mass.clamp(min=1), 1, dim=2)  # [N,1,1] each
        slant = ((xy - x * y) / (yy - y * y).clamp(min=THINNEST)).clamp(-STEEPEST, STEEPEST)
        # The column where each pixel of the frame is read: [N,R,C].
        across = (slant * self.rows + (x - slant * y) + self.columns).clamp(0.0, SIDE - 1.001)
        left = across.floor()
        index = left.long()
        lines = pixels[:, self._frame.top : self._frame.bottom]  # [N,R,28]
        one, next_ = lines.gather(2, index), lines.gather(2, index + 1)
        return (one + (next_ - one) * (across - left)).reshape(-1, 1, *self._frame.shape)

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values.float(), persistent=False)
