from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.data.augment import PIXEL, Augment, change_stroke, grid, soften

if TYPE_CHECKING:
    from training.data.mnist import Dataset

COUNT = 2000


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _moved(augment: Augment) -> Tensor:
    """By how many pixels each pixel is moved: float32[COUNT,28,28,2]."""
    return (grid(augment.weights(COUNT, _random())) - grid(Augment().weights(1, _random()))) / PIXEL


def test_with_every_knob_at_zero_digits_stay_as_they_are(dataset: Dataset) -> None:
    """No warp is exactly no change, but for the last bits of float32."""
    images = dataset.test.images[:100]
    torch.testing.assert_close(Augment()(images, _random()), images.float(), atol=0.01, rtol=0)


def test_digits_stay_in_range_and_in_shape(dataset: Dataset) -> None:
    """Warped digits are float32 of the same shape, from 0 to 255, and keep most of their ink."""
    images = dataset.test.images[:1000]
    drawn = Augment(8, 0.1, 0.1, 1, 0.8, 0.5, 0.5)(images, _random())
    assert drawn.shape == images.shape
    assert drawn.dtype == torch.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 255.01
    assert 0.9 < drawn.mean() / images.float().mean() < 1.1


def test_the_same_generator_draws_the_same_warps(dataset: Dataset) -> None:
    """Warps follow from the generator's seed, and differ from digit to digit."""
    images = dataset.test.images[:1].expand(2, -1, -1, -1)
    augment = Augment(8, 0.1, 0.1, 1, 0.8, 0.5, 0.5)
    first, again = augment(images, _random()), augment(images, _random())
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])


def test_shift_is_uniform_in_pixels() -> None:
    """A shift of 2 moves whole digits by -2 to 2 pixels either way, evenly."""
    moved = _moved(Augment(shift=2))[:, 0, 0]
    assert 1.95 < moved.abs().max() <= 2.0001
    assert moved.mean().abs() < 0.1
    assert math.isclose(moved.std().item(), 4 / math.sqrt(12), rel_tol=0.05)


def test_elastic_is_a_standard_deviation_in_pixels_and_smooth() -> None:
    """Every pixel moves by the knob's standard deviation, and its neighbour almost with it."""
    moved = _moved(Augment(elastic=0.8))
    deviations = moved.std(dim=0)
    assert deviations.min() > 0.7
    assert deviations.max() < 0.9
    assert (moved[:, :, 1:] - moved[:, :, :-1]).std() < 0.2


def test_rotation_and_scale_keep_their_limits() -> None:
    """The corner, 19 pixels from the centre, goes no further than 8 degrees or 10 % can take it."""
    radius = math.hypot(13.5, 13.5)
    turned, scaled = (
        _moved(augment)[:, 0, 0].norm(dim=1).max() for augment in (Augment(rotation=8), Augment(scale=0.1))
    )
    assert 0.95 < turned / (2 * radius * math.sin(math.radians(4))) < 1.001
    assert 0.95 < scaled / (0.1 * radius) < 1.001


def test_shear_moves_rows_sideways_only() -> None:
    """A shear of 0.1 moves the top row by up to 1.35 pixels to the side, and none up or down."""
    moved = _moved(Augment(shear=0.1))[:, 0, 0]
    assert 1.3 < moved[:, 0].abs().max() < 1.351
    assert moved[:, 1].abs().max() < 1e-4


def test_stroke_makes_lines_thicker_or_thinner() -> None:
    """A line of 3 pixels becomes one of 5 or of 1, or goes half of the way."""
    line = torch.zeros(3, 1, 28, 28)
    line[:, :, 4:24, 12:15] = 200
    changed = change_stroke(line, torch.tensor([1.0, -1.0, 0.5]).reshape(3, 1, 1, 1))[:, 0, 14]
    assert [int((row > 0).sum()) for row in changed] == [5, 1, 5]
    assert changed[2, 11] == 100


def test_stroke_changes_ink_both_ways_over_a_batch(dataset: Dataset) -> None:
    """Over many digits, about half gain ink and half lose it."""
    images = dataset.test.images[:1000]
    ink = Augment(stroke=0.8)(images, _random()).sum(dim=(1, 2, 3)) / images.sum(dim=(1, 2, 3))
    assert 0.4 < (ink > 1).float().mean() < 0.6
    assert ink.max() > 1.3
    assert ink.min() < 0.75


def test_blur_spreads_ink_and_loses_none() -> None:
    """A dot becomes the binomial 1 2 1 in both directions; an amount of 0 leaves it."""
    dot = torch.zeros(2, 1, 28, 28)
    dot[:, :, 10, 10] = 160
    blurred = soften(dot, torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1))
    assert blurred[0, 0, 9:12, 9:12].tolist() == [[10, 20, 10], [20, 40, 20], [10, 20, 10]]
    assert blurred[0].sum() == 160
    assert torch.equal(blurred[1], dot[1])
