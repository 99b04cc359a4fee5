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
        one, zero = torch.ones_like(place), torch.zeros_like(place)
        self.rows: Tensor
        self.columns: Tensor
        self.down: Tensor
        self.across: Tensor
        self._constant("rows", place[frame.top : frame.bottom, None].float())  # [R,1]
        self._constant("columns", torch.arange(frame.left, frame.right + 1))  # [C+1]
        # Whole numbers: sums of bytes times these are exact in float32, in any order, so every runtime finds the same.
        powers = torch.stack([one, place, place * place])
        self._constant("down", powers.float())  # [3,28]: of each column, the mass and its moments
        of_mass = torch.stack([one, place, zero, zero, zero], dim=1)
        of_first = torch.stack([zero, zero, one, place, zero], dim=1)
        of_second = torch.stack([zero, zero, zero, zero, one], dim=1)
        self._constant("across", torch.cat([of_mass, of_first, of_second]).float())  # [84,5]

    def forward(self, images: Tensor) -> Tensor:
        """Return the frame, float32[N,1,R,C], of images [N,1,28,28], deslanted."""
        pixels = images.reshape(-1, SIDE, SIDE).to(self.rows.dtype)
        sums = (self.down @ pixels).reshape(-1, 1, 3 * SIDE) @ self.across  # [N,1,5]
        mass, means = torch.split(sums, [1, 4], dim=2)
        x, y, xy, yy = torch.split(means / mass.clamp(min=1), 1, dim=2)  # [N,1,1] each
        slant = ((xy - x * y) / (yy - y * y).clamp(min=THINNEST)).clamp(-STEEPEST, STEEPEST)
        distance = slant * self.rows + (x - slant * y) + 0.5  # by which a row moves to the left: [N,R,1]
        whole = distance.floor()
        index = (whole.long() + self.columns).clamp(0, SIDE - 1)  # one column more than the frame has: [N,R,C+1]
        ink = pixels[:, self._frame.top : self._frame.bottom].gather(2, index)
        left, right = ink[..., :-1], ink[..., 1:]
        return (left + (right - left) * (distance - whole)).reshape(-1, 1, *self._frame.shape)

    def _constant(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)
