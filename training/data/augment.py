"""Augment whole batches: rotate, scale, shear, shift, bend, thicken or blur each digit a little.

In: images uint8[N,1,28,28]. Out: float32 of a frame of them, still 0 to 255. One matrix product makes the sampling grid
of a batch, and one `grid_sample` reads it. Augmentation never ships.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from .digits import SIDE, WHOLE, Frame

PIXEL: Final = 2 / SIDE  # in grid_sample's units, which run from -1 to 1 over the side
CONTROLS: Final = 7  # points of the elastic displacement, each way: one every 4 pixels or so


@dataclass(frozen=True)
class Augment:
    """The strength of each; the hyperparameters of the same names in `Config` say what they mean."""

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    stroke: float = 0.0
    blur: float = 0.0

    def __bool__(self) -> bool:
        """Whether any strength is above 0."""
        return any(dataclasses.astuple(self))

    def __call__(
        self, images: Tensor, random: torch.Generator, frame: Frame = WHOLE, part: slice = slice(None)
    ) -> Tensor:
        """Return the frame, float32[N,1,R,C], of a part of images uint8[M,1,28,28], augmented; 0 outside the image.

        Random numbers are drawn on the CPU for the whole batch, so they are the same on every device and for any number
        of processes that share the batch.
        """
        count, device = len(images), images.device
        images = images[part]
        weights = self.weights(count, random)[part].to(device)
        drawn = functional.grid_sample(images.float(), grid(weights, frame), align_corners=False)
        if self.stroke:
            drawn = change_stroke(drawn, self.stroke * _uniform(count, random)[part].to(device))
        if self.blur:
            drawn = soften(drawn, self.blur * _uniform(count, random)[part].to(device).abs())
        return drawn

    def weights(self, count: int, random: torch.Generator) -> Tensor:
        """Draw each image's affine map and the weights of its displacement: float32[count,2,3 + CONTROLS²].

        Independent random bumps make a smooth displacement (after Simard, Steinkraus and Platt 2003).
        """
        bumps = torch.randn(count, 2, CONTROLS**2, generator=random) * (self.elastic * PIXEL)
        return torch.cat([self._affine(count, random), bumps], dim=2)

    def _affine(self, count: int, random: torch.Generator) -> Tensor:
        """Draw matrices float32[count,2,3] that map a pixel's (x, y, 1) to the place where it is read."""
        turn, zoom, slant, right, down = torch.rand(5, count, generator=random) * 2 - 1
        turn, zoom, slant = turn * math.radians(self.rotation), 1 + zoom * self.scale, slant * self.shear
        right, down = right * self.shift * PIXEL, down * self.shift * PIXEL
        cos, sin = torch.cos(turn) * zoom, torch.sin(turn) * zoom
        matrix = [cos, cos * slant - sin, right, sin, sin * slant + cos, down]
        return torch.stack(matrix, dim=1).reshape(count, 2, 3)


def grid(weights: Tensor, frame: Frame = WHOLE) -> Tensor:
    """Return where each pixel of a frame is read, x then y in grid_sample's units: float32[N,R,C,2] for N images."""
    return (weights @ _basis(frame, weights.device)).reshape(-1, 2, *frame.shape).permute(0, 2, 3, 1)


def change_stroke(images: Tensor, amounts: Tensor) -> Tensor:
    """Mix each image [N,1,R,C] with its dilation by a pixel (amounts [N,1,1,1] above 0) or its erosion (below 0)."""
    signs = amounts.sign()
    # The erosion of a picture is the dilation of its negative.
    signed = functional.pad(images * signs, (1, 1, 1, 1))
    across = torch.maximum(signed[..., 1:-1, :-2], signed[..., 1:-1, 2:])
    along = torch.maximum(signed[..., :-2, 1:-1], signed[..., 2:, 1:-1])
    widest = torch.maximum(torch.maximum(across, along), signed[..., 1:-1, 1:-1]) * signs
    return torch.lerp(images, widest, amounts.abs())


def soften(images: Tensor, amounts: Tensor) -> Tensor:
    """Mix each image [N,1,R,C] with its blur by (1, 2, 1) / 4 both ways, by amounts [N,1,1,1] of 0 to 1."""
    binomial, (rows, columns) = _binomial(images.device), images.shape[2:]
    return torch.lerp(images, binomial[:rows, :rows] @ images @ binomial[:columns, :columns], amounts)


def _uniform(count: int, random: torch.Generator) -> Tensor:
    """Draw a number from -1 to 1 for each image: float32[count,1,1,1]."""
    return torch.rand(count, 1, 1, 1, generator=random) * 2 - 1


@cache
def _basis(frame: Frame, device: torch.device) -> Tensor:
    """Return x, y, 1, and a bump around each control point, at every pixel of a frame: float32[3 + CONTROLS², R·C].

    The bumps are Gaussians as wide as they are apart, scaled so that independent standard normal weights give a
    displacement of standard deviation 1 at every pixel.
    """
    axis = (torch.arange(SIDE) + 0.5) * PIXEL - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    apart = 2 / (CONTROLS - 1)
    bumps = torch.exp(-0.5 * ((axis - torch.linspace(-1, 1, CONTROLS)[:, None]) / apart) ** 2)  # [CONTROLS, 28]
    bumps = torch.einsum("ay,bx->abyx", bumps, bumps).flatten(0, 1)
    affine = torch.stack([x, y, torch.ones_like(x)])
    everywhere = torch.cat([affine, bumps / bumps.square().sum(dim=0).sqrt()])  # [3 + CONTROLS², 28, 28]
    return frame.crop(everywhere).flatten(1).to(device)


@cache
def _binomial(device: torch.device) -> Tensor:
    """Return the matrix float32[28,28] that blurs a line of pixels by (1, 2, 1) / 4."""
    beside = torch.ones(SIDE - 1) / 4
    return (torch.eye(SIDE) / 2 + torch.diag(beside, 1) + torch.diag(beside, -1)).to(device)
