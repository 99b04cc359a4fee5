"""Pictures of what is no digit: deterministic, legible, and of many kinds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from training.synthesis import not_digits


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
