"""The styles of writing: each draws in its box, is drawn by somebody, and the held-out ones teach nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from training.synthesis import strokes, styles

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY = [(label, style) for label, of_digit in styles.STYLES.items() for style in of_digit]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, str]]]:
    """The styles that are drawn from now on."""
    names: list[tuple[int, str]] = []

    def note(label: int, style: str, rng: np.random.Generator) -> list[list[tuple[float, float]]]:
        names.append((label, style))
        return styles.write(label, style, rng)

    monkeypatch.setattr(strokes, "write", note)
    yield names


@pytest.mark.parametrize(("label", "style"), EVERY)
def test_every_style_stays_in_its_box(label: int, style: str) -> None:
    """A style fills the height of its box, is no wider than high, and varies from hand to hand."""
    rng = np.random.default_rng(0)
    hands = [styles.write(label, style, rng) for _ in range(20)]
    for hand in hands:
        points = np.concatenate([np.array(stroke) for stroke in hand])
        assert points.min(0) == pytest.approx([0.1, 0.0], abs=0.34)
        assert points.max(0) == pytest.approx([0.5, 1.0], abs=0.34)
        assert 0.8 <= np.ptp(points[:, 1]) <= 1.2
        assert np.ptp(points[:, 0]) <= 1.05
    assert len({str(hand) for hand in hands}) == len(hands)


def test_each_digit_has_many_styles_and_one_held_out() -> None:
    """There are eight styles or more of each digit, and one of them is held out."""
    assert list(styles.STYLES) == list(styles.HELD_OUT) == list(range(10))
    assert min(map(len, styles.STYLES.values())) >= 8
    assert all(style in styles.STYLES[label] for label, style in styles.HELD_OUT.items())


def test_the_same_range_is_the_same_number() -> None:
    """The bar of a 4 lies level, at a height that varies: its two ends have the same range."""
    rng = np.random.default_rng(0)
    bars = [styles.write(4, "triangle", rng)[0][1:] for _ in range(20)]
    assert all(left[1] == right[1] for left, _, right in bars)
    assert np.ptp([left[1] for left, *_ in bars]) > 0.05


def test_only_who_asks_gets_a_held_out_style(drawn: list[tuple[int, str]]) -> None:
    """Digits are drawn in all the other styles; those that are asked for, in the held-out one alone."""
    rng = np.random.default_rng(0)
    for number in range(600):
        strokes.draw(number % 10, rng)
    held_out = set(styles.HELD_OUT.items())
    assert set(drawn) == set(EVERY) - held_out
    drawn.clear()
    for label in range(10):
        strokes.draw(label, rng, held_out=True)
    assert set(drawn) == held_out


def test_digits_are_as_large_as_one_and_centred() -> None:
    """Each digit comes out with its longer side 1 about the middle, and the generator determines it."""
    for label in range(10):
        segments = strokes.draw(label, np.random.default_rng(label))
        low, high = segments.min((0, 1)), segments.max((0, 1))
        assert (high - low).max() == pytest.approx(1, abs=1e-4)
        assert low + high == pytest.approx(0, abs=1e-4)
        assert np.array_equal(segments, strokes.draw(label, np.random.default_rng(label)))


def test_a_hand_writes_between_styles_that_go_the_same_way() -> None:
    """Half of the way between two paths lies in the middle; paths that are unlike stay as they are."""
    down = np.array([[0.0, 0.0], [0.0, 1.0]])
    beside, back = down + np.array([0.1, 0.0]), down[::-1]
    (middle,) = strokes._mix([down], [beside], 0.5)
    assert middle[:, 0] == pytest.approx(0.05)
    assert strokes._mix([down], [back], 0.5)[0] is down
    assert strokes._mix([down], [beside, beside], 0.5)[0] is down
