"""Whether a prepared picture shows what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from service.picture.prepare import read
from training.synthesis import ink, legible, strokes


def lines(*ends: tuple[float, float, float, float], wide: int = 3) -> np.ndarray:
    """A picture of 28 x 28 pixels with straight lines, light on dark."""
    picture = Image.new("L", (28, 28))
    for each in ends:
        ImageDraw.Draw(picture).line(each, 255, wide)
    return np.asarray(picture)


@pytest.mark.parametrize("label", range(10))
def test_a_digit_shows_itself_and_no_rule(label: int) -> None:
    """A brush's digit, prepared by the service, shows what was drawn; a rule under it does not."""
    rng = np.random.default_rng(label)
    drawn = strokes.draw(label, rng)
    prepared = read(ink.FAMILIES["brush"](drawn, rng), max_pixels=10**6)
    assert legible.shows(prepared.pixels, drawn)
    assert not legible.shows(lines((4, 20, 24, 20)), drawn)


def test_a_digit_with_a_rule_across_it_does_not_show_itself() -> None:
    """A digit does not show itself where it shares its box with rules that were taken for parts of it."""
    rng = np.random.default_rng(0)
    drawn = strokes.draw(3, rng)
    digit = Image.fromarray(read(ink.FAMILIES["brush"](drawn, rng), max_pixels=10**6).pixels)
    squeezed = lines((4, 4, 4, 24), (4, 24, 24, 24)).copy()
    squeezed[6:20, 8:22] = np.asarray(digit.resize((14, 14)))
    assert not legible.shows(squeezed, drawn)


@pytest.mark.parametrize(
    ("pixels", "plain"),
    [
        (lines((14, 4, 14, 24)), True),
        (lines((10, 4, 18, 24)), True),
        (lines((14, 4, 14, 24), wide=5), True),
        (lines((4, 14, 24, 14)), False),
        (lines((4, 4, 24, 4), (24, 4, 24, 24)), False),
        (np.full((28, 28), 255, np.uint8), False),
    ],
    ids=["upright", "leaning", "thick", "lying", "corner", "everything"],
)
def test_a_plain_one_is_a_thin_upright_stroke(pixels: np.ndarray, plain: bool) -> None:
    """An upright stroke is one, also if it leans; a lying one, a corner and a full picture are none."""
    assert legible.is_plain_one(pixels) is plain
