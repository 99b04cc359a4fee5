"""The generator of handwriting-like pictures: deterministic, of every family, and legible through the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.picture.prepare import PreparedImage, read
from training.synthesis import ink
from training.synthesis.strokes import trace

if TYPE_CHECKING:
    from numpy.typing import NDArray


def seven() -> NDArray[np.uint8]:
    """A digit in MNIST's form."""
    digit = np.zeros((28, 28), np.uint8)
    digit[4:7, 7:21] = 255
    for y in range(7, 24):
        digit[y, 19 - (y - 7) // 2 - 2 : 19 - (y - 7) // 2 + 2] = 255
    return digit


def look(family: str, digit: NDArray[np.uint8] | None, seed: int) -> PreparedImage:
    return read(ink.render(family, digit, 7, np.random.default_rng(seed)), max_pixels=10_000_000)


@pytest.mark.parametrize("family", ink.FAMILIES)
def test_same_seed_same_picture(family: str) -> None:
    """A picture follows from its family, label and seed, byte by byte; another seed gives another."""
    one, two, other = (ink.render(family, None, 5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == two
    assert one != other


@pytest.mark.parametrize("family", ink.FAMILIES)
@pytest.mark.parametrize("digit", [None, seven()], ids=["own", "mnist"])
def test_pictures_of_every_family_hold_a_digit(family: str, digit: NDArray[np.uint8] | None) -> None:
    """The service finds ink in nearly every picture of every family."""
    empty = sum(look(family, digit, seed).box is None for seed in range(12))
    assert empty <= 1


def test_the_middle_line_of_a_digit_follows_it() -> None:
    """Tracing an MNIST digit gives its middle line: a 7 reaches from the bar at the top to the foot."""
    segments = trace(seven(), np.random.default_rng(0))
    top, foot = segments[..., 1] < -0.4, segments[..., 1] > 0.4
    assert np.ptp(segments[top][:, 0]) > 0.4
    assert np.ptp(segments[foot][:, 0]) < 0.2


def test_a_dot_can_be_traced() -> None:
    """A digit of one pixel, which has no line, gives one point and no failure."""
    dot = np.zeros((28, 28), np.uint8)
    dot[14, 14] = 255
    assert trace(dot, np.random.default_rng(0)).shape[1:] == (2, 2)
