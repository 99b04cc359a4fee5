"""Rules, corners, boxes and neighbours that touch a digit are not part of it; a digit that is cut off is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from service.picture.prepare import PreparedImage, prepare, read
from tests.support.pictures import png

if TYPE_CHECKING:
    from service.arrays import Pixels

    Run = list[tuple[int, int]]

INK, RULE = "#202848", "#6f8fc0"
SEVEN = [(70, 60), (134, 56), (92, 150)]
EIGHT = [
    (100, 100),
    (75, 80),
    (80, 55),
    (110, 50),
    (125, 75),
    (100, 100),
    (75, 125),
    (85, 150),
    (115, 150),
    (128, 125),
    (100, 100),
]
TWO = [(75, 80), (95, 52), (122, 66), (118, 95), (72, 148), (134, 144)]
CUT_EIGHT = 115  # rows, which end in its lower loop
DIGITS = {"7": [SEVEN], "8": [EIGHT], "2": [TWO]}


def photo(strokes: list[Run], rules: list[Run], width: int = 5, rule: str = RULE) -> Pixels:
    """A digit and rules on blurred, grainy, unevenly lit paper."""
    image = Image.new("RGB", (200, 200), "#dcd8cc")
    pen = ImageDraw.Draw(image)
    for run in rules:
        pen.line(run, fill=rule, width=width)
    for stroke in strokes:
        pen.line(stroke, fill=INK, width=9, joint="curve")
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(1.2)), np.float64)
    light = np.linspace(1, 0.85, 200)[:, None]
    grain = np.random.default_rng(0).normal(0, 2, (200, 200, 1))
    return (blurred * light + grain).clip(0, 255).astype(np.uint8)


def see(pixels: Pixels) -> PreparedImage:
    """Prepare colours as the service does."""
    return prepare(np.asarray(Image.fromarray(pixels).convert("L")))


def see_colours(pixels: Pixels) -> PreparedImage:
    """Prepare colours as they are."""
    return read(png(pixels), max_pixels=pixels.size)


def same(one: PreparedImage, other: PreparedImage) -> float:
    """Cosine similarity of two prepared pictures."""
    a, b = (image.pixels.astype(float).ravel() for image in (one, other))
    return float(a @ b / max(1.0, np.linalg.norm(a) * np.linalg.norm(b)))


BESIDE: dict[str, list[Run]] = {
    "corner at the left": [[(58, -9), (60, 150)], [(60, 150), (209, 148)]],
    "corner at the right": [[(139, 209), (138, 48)], [(138, 48), (-9, 46)]],
    "T below": [[(-9, 152), (209, 155)], [(150, 153), (148, 209)]],
    "two rules askew": [[(-9, 94), (209, 106)], [(-9, 148), (209, 158)]],
}


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("rule", [RULE, "#404040"])
def test_lines_that_touch_a_digit_are_no_ink(digit: str, beside: str, rule: str) -> None:
    """Corners, T shapes and rules, coloured or dark, that touch or cross the digit leave it as it was."""
    plain = see(photo(DIGITS[digit], []))
    assert same(see(photo(DIGITS[digit], BESIDE[beside], rule=rule)), plain) > 0.75


PASSING: dict[str, Run] = {"below": [(-9, 152), (172, 150)], "at the left": [(66, 30), (67, 209)]}


@pytest.mark.parametrize("digit", ["2", "8"])
@pytest.mark.parametrize(
    ("line", "rule", "colours"),
    [
        ("below", "#b02020", True),
        ("below", "#909090", True),
        ("below", "#989898", False),
        ("at the left", "#b02020", True),
        ("at the left", "#909090", True),
        ("at the left", "#989898", False),
    ],
)
def test_a_line_of_another_pen_is_no_ink_although_it_ends(digit: str, line: str, rule: str, colours: bool) -> None:
    """A line from the border on that passes the digit and ends: red or grey beside blue, or fainter in a grey scan."""
    plain, ruled = photo(DIGITS[digit], []), photo(DIGITS[digit], [PASSING[line]], rule=rule)
    prepared = see_colours if colours else see
    assert same(prepared(ruled), prepared(plain)) > 0.75


def test_a_stem_that_runs_out_of_the_picture_stays() -> None:
    """A 4 whose stem passes its other strokes, and ends at the border, in its own ink."""
    four: list[Run] = [[(88, 60), (76, 110), (128, 108)], [(112, 44), (108, 209)]]
    whole: list[Run] = [four[0], [(112, 44), (109, 170)]]
    assert same(see_colours(photo(four, [])), see_colours(photo(whole, []))) > 0.75


@pytest.mark.parametrize("digit", ["2", "7"])
def test_a_box_that_touches_a_digit_is_no_ink(digit: str) -> None:
    """A printed box, a little askew, which the digit touches on a side, leaves it as it was."""
    box: list[Run] = [[(62, 38), (141, 36)], [(141, 36), (143, 156)], [(143, 156), (64, 158)], [(64, 158), (62, 38)]]
    assert same(see(photo(DIGITS[digit], box)), see(photo(DIGITS[digit], []))) > 0.75


@pytest.mark.parametrize(
    "lines",
    [
        [[(100, -9), (104, 209)]],
        [[(-9, 120), (209, 116)]],
        [[(60, -9), (62, 209)], [(-9, 90), (209, 92)]],
        [[(-9, 120), (209, 122)], [(90, 121), (91, 209)]],
        [[(70, -9), (70, 130)], [(70, 130), (209, 128)]],
    ],
    ids=["rule down", "rule across", "cross", "T", "corner"],
)
def test_lines_alone_are_no_digit(lines: list[Run]) -> None:
    """A rule is no 1, and a corner no 7, in the middle of a picture too."""
    assert see(photo([], lines)).warnings == ("no_ink",)


@pytest.mark.parametrize("rules", [[], [[(-9, 40), (209, 42)], [(-9, 160), (209, 162)]]])
def test_a_one_between_two_rules_stays(rules: list[Run]) -> None:
    """A 1 that reaches from rule to rule is no side of a box."""
    seen = see(photo([[(104, 46), (97, 156)]], rules))
    assert seen.box is not None
    assert seen.box[3] - seen.box[1] > 90
    assert seen.box[2] - seen.box[0] < 40


def test_the_lower_part_of_a_digit_above_is_no_ink() -> None:
    """A stroke that comes in from the line above is not the bar of the digit."""
    above = [[(60, -20), (64, 20), (92, 34), (110, 12), (112, -20)]]
    plain = see(photo([SEVEN], []))
    assert same(see(photo([SEVEN, *above], [])), plain) > 0.9


@pytest.mark.parametrize("turns", range(4))
def test_a_digit_that_is_cut_through_is_told(turns: int) -> None:
    """Where the picture cuts through two strokes at one border, `cut_off` warns; a whole one has no warning."""
    whole = np.rot90(photo([EIGHT], []), turns)
    cut = np.rot90(photo([EIGHT], [])[:CUT_EIGHT], turns)
    assert "cut_off" not in see(np.ascontiguousarray(whole)).warnings
    assert see(np.ascontiguousarray(cut)).warnings == ("cut_off",)


@pytest.mark.parametrize("turns", range(4))
def test_one_stroke_that_is_cut_is_told_at_the_top(turns: int) -> None:
    """A stem or a bar that ends at the border misses nothing, but a head may be missing above one."""
    cut = np.rot90(photo([SEVEN], [])[:125], turns)
    assert see(np.ascontiguousarray(cut)).warnings == (("cut_off",) if turns == 2 else ())


@pytest.mark.parametrize("digit", DIGITS)
@pytest.mark.parametrize("margin", [0, 3])
def test_a_digit_cropped_to_its_box_is_not_cut_off(digit: str, margin: int) -> None:
    """Strokes that touch all borders of a picture are whole."""
    dark = photo(DIGITS[digit], []).min(2) < 130
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    image = Image.fromarray(photo(DIGITS[digit], []))
    box = columns[0] - margin, rows[0] - margin, columns[-1] + 1 + margin, rows[-1] + 1 + margin
    assert "cut_off" not in see(np.asarray(image.crop(box))).warnings


def test_the_faint_part_of_a_stroke_stays() -> None:
    """A 7 whose downstroke is about a quarter as dark as its bar is no bar."""
    pen_strength = np.where(np.arange(200)[:, None] > 75, 0.29, 1.0)[..., None]
    paper, written = photo([], []).astype(float), photo([SEVEN], []).astype(float)
    uneven = (paper + pen_strength * (written - paper)).clip(0, 255).astype(np.uint8)
    seen = see(uneven)
    assert seen.box is not None
    assert seen.box[3] > 140


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("thick", [36, 44])
def test_the_hole_of_a_thick_brush_is_no_digit(ink: int, thick: int) -> None:
    """On a canvas, a 0 whose hole is a slim slit is the ink around the slit, dark or light."""
    canvas = Image.new("L", (200, 200), 255 - ink)
    ImageDraw.Draw(canvas).ellipse((60, 30, 140, 170), outline=ink, width=thick)
    ImageDraw.Draw(canvas).line([(100, 60), (100, 140)], fill=255 - ink, width=5)
    seen = see(np.asarray(canvas.convert("RGB")))
    assert seen.polarity == ("light_on_dark" if ink else "dark_on_light")
    assert seen.box is not None
    assert np.abs(np.subtract(seen.box, (60, 30, 141, 171))).max() < 3


def test_the_stem_of_a_cropped_digit_is_no_rule() -> None:
    """A 4 that is cropped above and below keeps its stem, which goes straight from border to border in its own ink."""
    four: list[Run] = [[(88, 50), (76, 100), (128, 98)], [(112, 40), (108, 160)]]
    cropped = see(np.ascontiguousarray(photo(four, [])[44:156]))
    assert same(cropped, see(photo(four, []))) > 0.75
