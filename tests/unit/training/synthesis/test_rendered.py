"""The mosaic of pictures as the service sees them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from service.picture.prepare import PreparedImage, read
from training import data
from training.config import Config
from training.data.digits import NOT_A_DIGIT
from training.service_picture import WARNINGS
from training.synthesis import legible, not_digits, rendered, strokes

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.mnist import Dataset


def test_the_mosaic_holds_digits_and_what_is_none() -> None:
    """Ten pictures of fourteen are digits, as many of each; a ninth of all is held out; no digit is blank."""
    train, held_out = rendered.load()
    assert Config(seen=len(train.labels)).seen == Config().seen
    assert (len(train.labels), len(held_out.labels)) == (22_400, 6_720)
    for digits in (train, held_out):
        counts = digits.labels.bincount().tolist()
        assert set(counts[:NOT_A_DIGIT]) == {len(digits.labels) // 14}
        assert counts[NOT_A_DIGIT] == len(digits.labels) // 14 * 4
        assert (digits.images[digits.labels < NOT_A_DIGIT].amax((1, 2, 3)) == 255).all()
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


@pytest.fixture
def short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 14 pictures: each digit once, and four without one."""
    monkeypatch.setattr(rendered, "COLUMNS", rendered.CYCLE)


@pytest.mark.usefixtures("short_rows")
def test_the_number_of_a_row_determines_it(dataset: Dataset) -> None:
    """The same number gives the same pictures and facts; another gives others."""
    one, two, other = (rendered.make_row(number, dataset.train, []) for number in (3, 3, 4))
    assert np.array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, other.pixels)
    assert one.facts == two.facts
    assert [each.label for each in one.facts] == list(range(10))


@pytest.mark.usefixtures("short_rows")
def test_no_row_to_train_on_has_a_held_out_style(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if all held-out rows had nothing else, the last row to train on has no digit in a held-out style."""
    asked: list[bool] = []

    def note(label: int, rng: np.random.Generator, *, held_out: bool) -> strokes.Segments:
        asked.append(held_out)
        return draw(label, rng, held_out=held_out)

    draw = strokes.draw
    monkeypatch.setattr(rendered, "IN_HELD_OUT_STYLE", 1.0)
    monkeypatch.setattr(rendered, "IN_STYLE", 1.0)
    monkeypatch.setattr(strokes, "draw", note)
    first_held_out = rendered.ROWS - rendered.HELD_OUT_ROWS
    rendered.make_row(first_held_out - 1, dataset.train, [])
    assert len(asked) >= 10
    assert not any(asked)
    asked.clear()
    rendered.make_row(first_held_out, dataset.train, [])
    assert len(asked) >= 10
    assert all(asked)


@pytest.mark.usefixtures("short_rows")
def test_a_digit_that_the_service_lost_is_drawn_again(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every second picture's digit is taken for a rule, no such rule gets a digit's label."""
    rule = np.zeros((28, 28), np.uint8)
    rule[13:15, 4:24] = 255
    calls = itertools.count()

    def lose(sent: bytes, *, max_pixels: int) -> PreparedImage:
        prepared = read(sent, max_pixels=max_pixels)
        return prepared._replace(rows=rule.tobytes(), box=(0, 0, 9, 9)) if next(calls) % 2 else prepared

    monkeypatch.setattr(rendered, "read", lose)
    row = rendered.make_row(0, dataset.train, []).pixels.reshape(28, -1, 28).swapaxes(0, 1)
    assert next(calls) > 20
    assert not any(np.array_equal(digit, rule) for digit in row[:10])


@pytest.mark.usefixtures("short_rows")
def test_a_plain_one_is_never_called_no_digit(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cell of which the service keeps an upright rule is left out: it looks as every 1 does."""
    bar = np.zeros((28, 28), np.uint8)
    bar[4:24, 13:15] = 255
    monkeypatch.setattr(rendered, "KINDS", ("empty", rendered.BLANK))
    monkeypatch.setattr(
        rendered, "read", lambda *_, **__: PreparedImage(bar.tobytes(), "dark_on_light", 0.1, (0, 0, 9, 9))
    )
    monkeypatch.setattr(legible, "shows", lambda *_: True)
    row = rendered.make_row(0, dataset.train, []).pixels.reshape(28, -1, 28).swapaxes(0, 1)
    assert all(np.array_equal(digit, bar) for digit in row[:10])
    assert not any(np.array_equal(other, bar) for other in row[10:])
