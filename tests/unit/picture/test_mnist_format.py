"""MNIST's format: each limit of the check, and strokes that are brought into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.picture.geometry import thickness
from service.picture.mnist_format import THICKEST, THINNEST, are_mnist_format, is_mnist_format, to_mnist_format

if TYPE_CHECKING:
    from service.arrays import Mask, Pixels


def bar(first: int = 4, last: int = 23, *, width: int = 2, value: int = 255) -> Pixels:
    """A bar over these rows, in the middle columns."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[first : last + 1, 14 - width // 2 : 14 + (width + 1) // 2] = value
    return pixels


def with_zeros(count: int) -> Pixels:
    """A block of 20 rows in the middle of a picture with `count` pixels that are exactly 0."""
    pixels = bar(width=18)  # 360, and 424 zeros
    pixels[4:24].ravel()[np.flatnonzero(pixels[4:24])[: count - 424]] = 0
    return pixels


def dot_at(row: int, column: int) -> Pixels:
    """A bar of 19 rows, and a dot beside it."""
    pixels = bar(4, 22)
    pixels[row, column] = 1
    return pixels


def with_a_trace(row: int) -> Pixels:
    pixels = bar()
    pixels[row, 14] = 1
    return pixels


CASES = {
    "20 long": (bar(), True),
    "19 long": (bar(5, 23), True),
    "18 long": (bar(5, 22), False),
    "21 long": (bar(4, 24), False),
    "21 long by the weakest pixel": (with_a_trace(24), False),
    "centre at 14.5": (bar(5, 24), True),
    "centre at 12.5": (bar(3, 22), False),
    "centre at 15.5": (bar(6, 25), False),
    "lightest 254": (bar(value=254), True),
    "lightest 253": (bar(value=253), False),
    "432 zeros": (with_zeros(432), True),
    "431 zeros": (with_zeros(431), False),
    "20 long by a dot in the first column": (dot_at(23, 0), False),
    "20 long by a dot in the last column": (dot_at(23, 27), False),
    "nothing": (np.zeros((28, 28), np.uint8), False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_limits_of_mnists_form(case: str) -> None:
    """Length, centre, background and lightest pixel are as in MNIST; also for the transposed image."""
    pixels, fits = CASES[case]
    assert is_mnist_format(pixels.tobytes()) == fits
    assert is_mnist_format(pixels.T.tobytes()) == fits


def test_several_images_are_judged_as_each_alone() -> None:
    """All cases at once, as they are and transposed; and those with noise on them, of which some fit still."""
    cases = [pixels for pixels, _ in CASES.values()]
    random = np.random.default_rng(5)
    noisy = [np.maximum(pixels, random.random((28, 28)) < 0.002).astype(np.uint8) for pixels in cases * 20]
    images = np.stack([*cases, *(pixels.T for pixels in cases), *noisy]).reshape(-1, 784)
    alone = [is_mnist_format(image.tobytes()) for image in images]
    assert are_mnist_format(images).tolist() == alone
    assert 50 < sum(alone) < len(alone) - 50


def sheet(rows: slice, columns: slice, size: int = 100) -> Mask:
    strokes = np.zeros((size, size), np.bool_)
    strokes[rows, columns] = True
    return strokes


@pytest.mark.parametrize("width", [2, 8, 12, 16])
def test_strokes_become_as_thick_as_mnists(width: int) -> None:
    """A bar and a corner, thin or thick, become as thick as MNIST's strokes to half a pixel, and 20 pixels long."""
    for strokes in (sheet(slice(100), slice(width)), sheet(slice(100), slice(width)) | sheet(slice(width), slice(100))):
        image = to_mnist_format(strokes if strokes[:, width:].any() else strokes[:, :width])
        assert THINNEST - 0.5 < thickness(image > 127) < THICKEST + 0.5
        assert image.max() == 255
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20


def test_a_blot_of_no_strokes_is_left_as_it_is() -> None:
    """A blob that thinning would remove is left as it is."""
    assert (to_mnist_format(sheet(slice(20), slice(20), 20)) > 0).sum() == 400


@pytest.mark.parametrize("turns", range(4))
def test_a_heavy_end_is_not_pushed_over_the_border(turns: int) -> None:
    """A digit whose centre of mass cannot be in the middle is put at the border, complete."""
    strokes = np.rot90(sheet(slice(80, 100), slice(100)) | sheet(slice(100), slice(45, 57)), turns)
    image = np.rot90(to_mnist_format(strokes), -turns)
    assert np.flatnonzero(image.any(1)).tolist() == list(range(20))
