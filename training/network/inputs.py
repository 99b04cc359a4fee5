"""What the first weights see of an image: its pixels, standardised, or the principal components of the training digits.

In: the frame of an image, [N,1,R,C] of 0 to 255. Out: float32[N,inputs]. Both are affine, so export folds them into the
first weights.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

MEAN: Final = 0.1307  # of all training pixels, as a share of 255
STD: Final = 0.3081


class Pixels(nn.Module):
    """Every pixel, standardised by the mean and the standard deviation of all of them."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float32[N,R·C] of images [N,1,R,C]."""
        return (images.flatten(1) / 255 - MEAN) / STD

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight and bias, for pixels of 0 to 255, that do what these do for standardised ones."""
        return weight / (255 * STD), bias - weight.sum(dim=1) * MEAN / STD


class Components(nn.Module):
    """The `count` principal components with the largest variances, scaled by one factor to a mean variance of 1.

    A step costs the fewer, and an optimizer with a step size for each weight makes more of it: components are not
    correlated, as pixels are.
    """

    def __init__(self, pixels: int, count: int) -> None:
        super().__init__()
        self.directions: Tensor
        self.offset: Tensor
        self.register_buffer("directions", torch.zeros(pixels, count))
        self.register_buffer("offset", torch.zeros(count))

    def find(self, images: Tensor) -> None:
        """Set the components to those of images [N,1,R,C]."""
        pixels = images.flatten(1)
        mean = pixels.mean(dim=0)
        variances, directions = torch.linalg.eigh((pixels - mean).T @ (pixels - mean) / len(pixels))  # rising
        count = len(self.offset)
        scaled = directions[:, -count:] / variances[-count:].mean().sqrt()
        self.directions.copy_(scaled)
        self.offset.copy_(-mean @ scaled)

    def forward(self, images: Tensor) -> Tensor:
        """Return float32[N,count] of images [N,1,R,C]."""
        return torch.addmm(self.offset, images.flatten(1), self.directions)

    def fold(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weight and bias, for pixels of 0 to 255, that do what these do for components."""
        return weight @ self.directions.T.double(), bias + weight @ self.offset.double()
