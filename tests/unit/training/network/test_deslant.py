from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from training.data.digits import SIDE, WHOLE
from training.network.deslant import DESLANTED, Deslant

if TYPE_CHECKING:
    from torch import Tensor

    from training.data.mnist import Dataset


def _central(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre column, and second moments xy and yy about the centre, of images [N,1,28,28]."""
    weights = images.double().flatten(1) / images.double().sum((1, 2, 3))[:, None]
    y, x = (axis.flatten().double() for axis in torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij"))
    column, row = weights @ x, weights @ y
    return column, weights @ (x * y) - column * row, weights @ (y * y) - row * row


def _sheared(images: Tensor, across: float) -> Tensor:
    matrix = torch.tensor([[1.0, across, 0.0], [0.0, 1.0, 0.0]]).expand(len(images), 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def test_digits_stand_upright_in_the_middle(dataset: Dataset) -> None:
    """After the layer, the slant is gone and the mass is in the middle, on every digit that keeps clear of the edge."""
    images = dataset.test.images
    clear = images[..., [0, 1, 2, 3, 24, 25, 26, 27]].sum((1, 2, 3)) == 0
    column, xy, yy = _central(Deslant(WHOLE)(images[clear]))
    slant = xy / yy
    assert clear.sum() > 100
    # Half a row more or less to the side, by interpolation, is what is left of slant.
    assert slant.abs().median() < 0.002
    assert slant.abs().max() < 0.05
    assert column == pytest.approx(torch.full_like(column, 13.5), abs=0.05)


def test_the_same_digit_leaning_either_way_becomes_the_same_picture(dataset: Dataset) -> None:
    """The layer undoes a shear: left-leaning and right-leaning copies differ far less after it than before."""
    digits = dataset.test.images[:50].float()
    leaning = [_sheared(digits, across) for across in (0.3, -0.3)]
    before = (leaning[0] - leaning[1]).square().mean()
    standing = [Deslant(WHOLE)(images) for images in leaning]
    assert (standing[0] - standing[1]).square().mean() < before / 20


def test_a_frame_is_cut_from_the_whole(dataset: Dataset) -> None:
    """What the network sees is a part of the whole picture, to the bit."""
    images = dataset.test.images[:20]
    whole, part = Deslant(WHOLE)(images), Deslant(DESLANTED)(images)
    assert part.shape == (20, 1, *DESLANTED.shape)
    assert torch.equal(DESLANTED.crop(whole), part)


@pytest.mark.parametrize("shade", [0, 255])
def test_a_picture_of_one_shade_stays_as_it_is(shade: int) -> None:
    """Neither nothing nor everything has a slant."""
    images = torch.full((1, 1, SIDE, SIDE), shade, dtype=torch.uint8)
    assert torch.equal(Deslant(WHOLE)(images), images.float())


def test_pixels_one_at_a_time_come_out_finite() -> None:
    """No division by nothing, however little ink there is."""
    images = torch.eye(SIDE**2).reshape(-1, 1, SIDE, SIDE)
    out = Deslant(DESLANTED)(images)
    assert out.isfinite().all()
    assert out.amin() >= 0
    assert out.amax() <= 1
