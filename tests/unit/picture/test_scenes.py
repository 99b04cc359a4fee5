"""Objects around a digit in a photograph are not part of it: sheets, shadows, thumbs, rings, underlines, holes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from service.picture.prepare import prepare
from tests.support.pictures import png

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from service.arrays import Pixels

    Draw = Callable[[Image.Image, ImageDraw.ImageDraw], None]

SEVEN = [(130, 110), (240, 104), (170, 260)]
INK = "#20285a"


def _note(image: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    image.paste("#3a3330", (0, 0, 400, 400))
    pen.polygon([(80, 50), (320, 75), (300, 320), (60, 300)], fill="#f0d860")


def _shadow(image: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    pen.polygon([(190, 400), (150, 190), (400, 120), (400, 400)], fill="#7a766e")


def _thumb(image: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    pen.ellipse((-60, 250, 95, 340), fill="#b07058")


def _ring(image: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    pen.ellipse((60, 50, 320, 320), outline=INK, width=10)


def _cut_ring(image: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    pen.ellipse((60, -15, 420, 320), outline=INK, width=10)


def _underline(image: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    pen.line([(120, 300), (250, 298)], fill=INK, width=12)


def _holes(image: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    for y in (120, 260):
        pen.ellipse((30, y, 70, y + 40), fill="#101010")


def _neighbours(_: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    pen.ellipse((270, 110, 430, 260), outline=INK, width=12)
    pen.ellipse((-70, 110, 90, 260), outline=INK, width=12)


def _print(_: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    pen.text((30, 56), "Number of items:", fill="#202020", font=ImageFont.load_default(22))


def _button(_: Image.Image, pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((80, 60, 320, 300), outline="#909090", width=3)
    pen.rectangle((80, 310, 280, 380), fill="#101010")


@pytest.mark.parametrize(
    "draw", [_note, _shadow, _thumb, _ring, _cut_ring, _underline, _holes, _neighbours, _print, _button]
)
def test_a_digit_is_read_whatever_lies_around_it(client: httpx.Client, draw: Draw) -> None:
    """A 7 on a note, in a hard shadow, ringed, underlined, beside a thumb, holes, digits, print or a button, is a 7."""
    image = Image.new("RGB", (400, 400), "#d8d4c8")
    pen = ImageDraw.Draw(image)
    draw(image, pen)
    pen.line(SEVEN, fill=INK, width=12, joint="curve")
    grain = np.random.default_rng(0).normal(0, 3, (400, 400, 1))
    photo = (np.asarray(image) + grain).clip(0, 255).astype(np.uint8)
    assert client.post("/predict", content=png(photo)).json()["predictions"][0]["digit"] == 7


@pytest.mark.parametrize("width", [12, 36])
def test_a_digit_half_in_a_hard_shadow_is_read(client: httpx.Client, width: int) -> None:
    """Where the edge of a shadow crosses the digit, the area between strokes and shadow is not ink, for any pen."""
    image = Image.new("RGB", (400, 400), "#d8d4c8")
    pen = ImageDraw.Draw(image)
    pen.polygon([(0, 0), (210, 0), (190, 400), (0, 400)], fill="#7a766e")
    pen.line([(100, 90), (300, 84), (190, 330)], fill=INK, width=width, joint="curve")
    assert client.post("/predict", content=png(np.asarray(image))).json()["predictions"][0]["digit"] == 7


@pytest.mark.parametrize("side", [120, 400])
def test_a_picture_in_a_picture_is_read(client: httpx.Client, side: int) -> None:
    """A light digit on a black square on a white page, as plots show them, is read within its square."""
    page = Image.new("L", (2 * side, int(1.5 * side)), 255)
    square = Image.new("L", (400, 400))
    ImageDraw.Draw(square).line(SEVEN, fill=255, width=34, joint="curve")
    page.paste(square.resize((side, side)), (side // 2, side // 4))
    prediction = client.post("/predict?explain=1", content=png(np.asarray(page))).json()["predictions"][0]
    assert prediction["digit"] == 7
    assert prediction["explain"]["polarity"] == "light_on_dark"
    assert prediction["explain"]["box"][0] > side // 2


def _cell(sides: str, inset: int, width: int, seed: int) -> Pixels:
    """A photographed cell without a digit: edges of the table, a little askew, on grainy, unevenly lit paper."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (160, 160), 190)
    pen = ImageDraw.Draw(image)
    for side in sides:
        at, lean = (inset if side in "lt" else 160 - inset), int(rng.integers(-3, 4))
        line = [(at, -5), (at + lean, 165)] if side in "lr" else [(-5, at), (165, at + lean)]
        pen.line(line, fill=int(rng.integers(30, 90)), width=width)
    blurred = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5)))
    light = np.linspace(1, rng.uniform(0.8, 1), 160)
    return (np.asarray(blurred) * light + rng.normal(0, 3, (160, 160))).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("sides", ["l", "r", "t", "b", "lt", "tr", "rb", "lb", "lr", "tb", "ltr", "lrb", "ltrb"])
@pytest.mark.parametrize(("inset", "width"), [(1, 3), (5, 3), (8, 6)])
def test_the_edges_of_an_empty_cell_are_no_digit(sides: str, inset: int, width: int) -> None:
    """A line along the border is not a 1, and a corner is not a 7."""
    seen = [prepare(_cell(sides, inset, width, seed)) for seed in range(6)]
    assert [image.warnings for image in seen] == [("no_ink",)] * 6


@pytest.mark.parametrize("x", [40, 80, 120])
@pytest.mark.parametrize("sides", ["", "l", "lt", "ltrb"])
def test_a_one_in_a_cell_stays_one(x: int, sides: str) -> None:
    """A stroke that stands by itself is a 1, beside the lines of its cell too."""
    image = Image.fromarray(_cell(sides, 5, 3, 0))
    ImageDraw.Draw(image).line([(x, 40), (x - 6, 122)], fill=40, width=6)
    seen = prepare(np.asarray(image))
    assert seen.box is not None
    assert abs(seen.box[0] - (x - 9)) < 6
    assert 70 < seen.box[3] - seen.box[1] < 95


@pytest.mark.parametrize("margin", [0, 4, 10, 20])
@pytest.mark.parametrize("width", [3, 8, 20])
def test_a_digit_that_fills_its_picture_is_no_edge(margin: int, width: int) -> None:
    """A 0 runs along all borders of a picture that is cropped to it, and a 1 from its top to its bottom."""
    image = Image.new("L", (130, 200), 255)
    ImageDraw.Draw(image).ellipse((margin, margin, 129 - margin, 199 - margin), outline=0, width=width)
    assert prepare(np.asarray(image)).box is not None
    stroke = Image.new("L", (2 * width + 2 * margin + 8, 200), 255)
    ImageDraw.Draw(stroke).line([(width + margin + 4, margin), (width + margin + 4, 199 - margin)], 0, width)
    assert prepare(np.asarray(stroke)).box is not None
