"""Digits as tensors, in MNIST's form: 28×28 pixels, ten classes, and one label for what is not a digit."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

SIDE: Final = 28
CLASSES: Final = 10
NOT_A_DIGIT: Final = 10  # the label of a picture that shows no digit


class Digits(NamedTuple):
    """Images uint8[N,1,28,28], light ink on dark as MNIST stores it, and labels int64[N]."""

    images: Tensor
    labels: Tensor

    def take(self, indices: Tensor) -> Digits:
        """Return the digits at `indices` int64[M], or where bool[N] is true."""
        return Digits(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> Digits:
        """Return the digits in the memory of a device."""
        return Digits(self.images.to(device), self.labels.to(device))

    def concatenate(self, more: Digits) -> Digits:
        """Return these digits followed by more."""
        return Digits(torch.cat([self.images, more.images]), torch.cat([self.labels, more.labels]))


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

    def move(self, down: int, right: int) -> Frame:
        """Return the frame of the same size, so many pixels away."""
        return Frame(self.top + down, self.bottom + down, self.left + right, self.right + right)

    def crop(self, images: Tensor) -> Tensor:
        """Return this part [..., R, C] of images [..., 28, 28]."""
        return images[..., self.top : self.bottom, self.left : self.right]


WHOLE: Final = Frame(0, SIDE, 0, SIDE)
