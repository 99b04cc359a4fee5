"""Pictures of what is no digit: deterministic, legible, and of many kinds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from training.synthesis import legible, not_digits


@pytest.mark.parametrize("kind", not_digits.KINDS)
def test_same_seed_same_picture(kind: str) -> None:
    """A picture follows from its kind and seed, byte by byte; another seed gives another."""
    one, two, other = (not_digits.render(kind, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == two
    assert one != other


@pytest.mark.parametrize("kind", not_digits.KINDS)
def test_pictures_are_png_or_jpeg_and_seldom_blank(kind: str) -> None:
    """Twenty pictures of a kind open, and nearly all have lighter and darker parts that an eye tells apart."""
    rng = np.random.default_rng(0)
    contrasts = []
    for _ in range(20):
        with Image.open(io.BytesIO(not_digits.render(kind, rng))) as picture:
            assert picture.format in ("PNG", "JPEG")
            contrasts.append(int(np.ptp(np.asarray(picture.convert("RGB"), np.int16))))
    assert sum(contrast > 20 for contrast in contrasts) >= 16


def test_fonts_that_measure_doubt_never_teach_it() -> None:
    """No font file is both held out and trained on."""
    assert not set(not_digits.find_fonts(held_out=True)) & set(not_digits.find_fonts(held_out=False))


def test_blanks_follow_from_the_generator_and_are_no_one() -> None:
    """Blanks have the network's form, and many shades; none is an upright stroke in the middle, which is a 1."""
    rng, again = np.random.default_rng(0), np.random.default_rng(0)
    blanks = [not_digits.draw_blank(rng) for _ in range(300)]
    assert all(np.array_equal(blank, not_digits.draw_blank(again)) for blank in blanks)
    assert {(blank.shape, blank.dtype.name) for blank in blanks} == {((28, 28), "uint8")}
    flat = {int(blank[0, 0]) for blank in blanks if np.ptp(blank) == 0}
    assert {0, 255} < flat
    for blank in blanks:
        if blank.any() and legible.is_plain_one(blank):
            assert not 6 < np.average(np.arange(28), weights=blank.sum(0, dtype=int)) < 21
