"""Warps of whole batches: each digit turned, scaled, sheared, shifted and bent a little, differently each time.

In: images uint8[N,1,28,28]. Out: float32 of the same shape, still 0 to 255. All of a batch's warps are one matrix product
that makes the sampling grid, and one `grid_sample`. It never ships, and it knows nothing of labels or networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

SIDE: Final = 28
CONTROLS: Final = 7  # control points of the elastic displacement, each way: one for every 4 pixels
PIXEL: Final = 2 / SIDE  # a pixel in grid_sample's units, which run from -1 to 1 over the side


@dataclass(frozen=True)
class Augment:
    """How much to warp; the knobs of the same names in `Config` say what each means."""

    rotation: float
    scale: float
    shear: float
    shift: float
    elastic: float

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Warped images float32[N,1,28,28] of images uint8[N,1,28,28]; what leaves the frame is lost, ground comes in."""
        return functional.grid_sample(images.float(), self.grid(len(images), generator), align_corners=False)

    def grid(self, count: int, generator: torch.Generator) -> Tensor:
        """Where each pixel of each digit is read: float32[count,28,28,2], x then y, in grid_sample's units."""
        noise = torch.randn(count, 2, CONTROLS**2, generator=generator) * (self.elastic * PIXEL)
        coefficients = torch.cat([self._affine(count, generator), noise], dim=2)  # [count, 2, 3 + controls]
        return (coefficients @ _BASIS).reshape(count, 2, SIDE, SIDE).permute(0, 2, 3, 1)

    def _affine(self, count: int, generator: torch.Generator) -> Tensor:
        """Random matrices [count,2,3] that take (x, y, 1) of the result to where it is read."""
        angle, zoom, slant, right, down = torch.rand(5, count, generator=generator) * 2 - 1
        angle = angle * math.radians(self.rotation)
        zoom = 1 + zoom * self.scale
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        slant, right, down = slant * self.shear, right * self.shift * PIXEL, down * self.shift * PIXEL
        rows = [cos, cos * slant - sin, right, sin, sin * slant + cos, down]
        return torch.stack(rows, dim=1).reshape(count, 2, 3)


def _basis() -> Tensor:
    """x, y, 1 and a smooth bump around each control point, at every pixel: float32[3 + CONTROLS², 28²].

    The bumps are Gaussians as wide as their distance; scaled so that independent standard normal weights give a displacement
    of standard deviation 1 at every pixel.
    """
    axis = (torch.arange(SIDE) + 0.5) * PIXEL - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    centres = torch.linspace(-1, 1, CONTROLS)
    bumps = torch.exp(-0.5 * ((axis - centres[:, None]) * (CONTROLS - 1) / 2) ** 2)  # [CONTROLS, 28]
    bumps = torch.einsum("ay,bx->abyx", bumps, bumps).reshape(CONTROLS**2, -1)
    affine = torch.stack([x, y, torch.ones_like(x)]).reshape(3, -1)
    return torch.cat([affine, bumps / bumps.square().sum(dim=0).sqrt()])


_BASIS: Final = _basis()
