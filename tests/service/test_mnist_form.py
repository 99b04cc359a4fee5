"""What counts as MNIST's own form: `service.form.is_mnist_form` at each of its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.form import is_mnist_form

if TYPE_CHECKING:
    from service.picture import Pixels


def bar(first: int = 4, last: int = 23, *, width: int = 2, value: int = 255) -> Pixels:
    """A bar over these rows, in the middle across."""
    pixels = np.zeros((28, 28), np.uint8)
    pixels[first : last + 1, 14 - width // 2 : 14 + (width + 1) // 2] = value
    return pixels


def with_zeros(count: int) -> Pixels:
    """A block 20 rows long, around the middle, with so many pixels that are exactly 0."""
    pixels = bar(width=18)  # 360, and 424 zeros
    pixels[4:24].ravel()[np.flatnonzero(pixels[4:24])[: count - 424]] = 0
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
    "nothing": (np.zeros((28, 28), np.uint8), False),
}


@pytest.mark.parametrize("case", CASES)
def test_the_limits_of_mnists_form(case: str) -> None:
    """As long, as centred, as black and as light as MNIST's digits are, upright or lying."""
    pixels, fits = CASES[case]
    assert is_mnist_form(pixels) == fits
    assert is_mnist_form(pixels.T) == fits
