"""The mosaic of pictures as the service sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from training import data
from training.config import Config
from training.data.digits import NOT_A_DIGIT
from training.evaluation.handwriting import WARNINGS
from training.synthesis import not_digits, rendered

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from training.data.mnist import Dataset


def test_the_mosaic_holds_digits_and_what_is_none() -> None:
    """Ten pictures of fourteen are digits, as many of each; a tenth of all is held out; none is blank."""
    train, held_out = rendered.load()
    assert (len(train.labels), len(held_out.labels)) == (15_120, 1_680)
    for digits in (train, held_out):
        counts = digits.labels.bincount().tolist()
        assert set(counts[:NOT_A_DIGIT]) == {len(digits.labels) // 14}
        assert counts[NOT_A_DIGIT] == len(digits.labels) // 14 * 4
        assert (digits.images.amax((1, 2, 3)) == 255).all()
        assert digits.images.dtype == torch.uint8


def test_the_mosaic_is_what_the_service_sees_today(dataset: Dataset) -> None:
    """Digits of the last row, rendered and read again, are those of the mosaic: neither generator nor geometry has
    drifted from it. (Letters are left out: this machine may have other fonts.)"""
    digits, _ = data.split(dataset.train, Config().validation_share)
    again = rendered.make_row(rendered.ROWS - 1, digits, []).pixels.reshape(28, rendered.COLUMNS, 28)
    with Image.open(rendered.MOSAIC) as mosaic:
        row = np.asarray(mosaic)[-28:].reshape(28, rendered.COLUMNS, 28)
    first = slice(0, 10)  # the generator's choices are the same up to the first picture that is no digit
    near = np.abs(again[:, first].astype(int) - row[:, first]).mean((0, 2)) < 8
    assert near.sum() >= 8


def test_each_held_out_digit_has_its_facts() -> None:
    """There is one line for each held-out picture that shows a digit, in their order, of every tuned family."""
    _, held_out = rendered.load()
    facts = rendered.load_held_out_facts()
    assert [each.label for each in facts] == held_out.labels[held_out.labels < NOT_A_DIGIT].tolist()
    assert {each.family for each in facts} == set(not_digits.DRAWN)
    assert {each.polarity for each in facts} == {"light_on_dark", "dark_on_light"}
    assert all(0 < each.ink_ratio < 1 for each in facts)
    assert {warning for each in facts for warning in each.warnings} <= set(WARNINGS)


def test_facts_are_read_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No warning, one and two of them come back as they were."""
    facts = [
        rendered.Facts(7, "brush", "light_on_dark", 0.0421, warnings)
        for warnings in ((), ("too_faint",), ("too_faint", "several_shapes"))
    ]
    monkeypatch.setattr(rendered, "FACTS", tmp_path / "facts.csv")
    rendered.save_facts(facts)
    assert rendered.load_held_out_facts() == facts
