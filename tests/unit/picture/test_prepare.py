"""Preparing pictures for the network with `service.picture.prepare`: geometry, polarity, rulings, dirt, light."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from service.errors import Unusable
from service.picture.mnist_format import is_mnist_format
from service.picture.prepare import PreparedImage, prepare, read

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIMIT = 40_000_000
FIVE_BODY = [(70, 40), (65, 95), (100, 90), (128, 115), (120, 150), (90, 165), (62, 155)]
FIVE_BAR = [(75, 32), (130, 30)]
SEVEN = [(55, 45), (140, 42), (85, 170)]


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def sheet(*strokes: list[tuple[int, int]], width: int = 10, ink: str = "black", paper: str = "white") -> Image.Image:
    """A 200 x 200 sheet with these strokes on it."""
    image = Image.new("RGB", (200, 200), paper)
    pen = ImageDraw.Draw(image)
    for stroke in strokes:
        pen.line(stroke, fill=ink, width=width, joint="curve")
    return image


def see(image: Image.Image) -> PreparedImage:
    return read(png(image), max_pixels=LIMIT)


def same(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Cosine similarity of two pictures: 1 if they are the same."""
    a, b = one.astype(float).ravel(), other.astype(float).ravel()
    return float(a @ b / max(1.0, np.linalg.norm(a) * np.linalg.norm(b)))


SEEN_SEVEN = see(sheet(SEVEN)).pixels


def test_digit_comes_out_in_mnist_format() -> None:
    """A drawing comes out 20 pixels long with its centre of mass in the middle, and with the box where it was."""
    prepared = see(sheet(SEVEN))
    assert is_mnist_format(prepared.rows)
    assert prepared.polarity == "dark_on_light"
    assert prepared.warnings == ()
    assert 0.02 < prepared.ink_ratio < 0.1
    assert prepared.box is not None
    assert np.allclose(prepared.box, (50, 38, 146, 174), atol=5)


def test_mnist_format_passes_bit_identical() -> None:
    """A 28 x 28 picture in MNIST's format is not changed, as PNG or as numbers."""
    digit = SEEN_SEVEN
    assert (prepare(digit).pixels == digit).all()
    prepared = see(Image.fromarray(digit))
    assert (prepared.pixels == digit).all()
    assert prepared[1:] == ("light_on_dark", (digit > 127).mean(), None, ())


def test_the_negative_of_mnist_format_is_inverted_and_nothing_else() -> None:
    """The negative of a picture in MNIST's format comes out as the digit itself, with the same grey levels."""
    digit = SEEN_SEVEN
    for prepared in (prepare(255 - digit), see(Image.fromarray(255 - digit))):
        assert (prepared.pixels == digit).all()
        assert prepared[1:] == ("dark_on_light", (digit > 127).mean(), None, ())


@pytest.mark.parametrize("spoil", [lambda x: 200 - x // 2, lambda x: np.roll(x, 4, 1), lambda x: x // 2])
def test_other_28_by_28_pictures_are_brought_into_form(spoil: object) -> None:
    """Grey, off-centre or faint 28 x 28 pictures are prepared like any other."""
    assert callable(spoil)
    prepared = prepare(spoil(SEEN_SEVEN))
    assert is_mnist_format(prepared.rows)
    assert same(prepared.pixels, SEEN_SEVEN) > 0.9


@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ("white", "black"),
        ("#bbbbbb", "white"),
        ("yellow", "white"),
        ("#9fd3ff", "white"),
        ("red", "#0050a0"),
        ("#333333", "#111111"),
        ("blue", "black"),
    ],
)
def test_every_ink_that_a_person_can_see_is_seen(ink: str, paper: str) -> None:
    """Light, faint and coloured ink on light and dark backgrounds gives the same image as black on white."""
    assert same(see(sheet(SEVEN, ink=ink, paper=paper)).pixels, SEEN_SEVEN) > 0.97


@pytest.mark.parametrize(("ink", "paper"), [("white", "black"), ("black", "white"), ("#ffffff", "#204020")])
def test_polarity_is_told(ink: str, paper: str) -> None:
    """The polarity says whether ink was lighter than its background."""
    expected = "dark_on_light" if ink == "black" else "light_on_dark"
    assert see(sheet(SEVEN, ink=ink, paper=paper)).polarity == expected


@pytest.mark.parametrize("width", [1, 3, 10, 22])
def test_thin_and_thick_strokes_come_out_alike(width: int) -> None:
    """A one-pixel mouse line and a thick brush come out about as thick as MNIST's strokes."""
    assert same(see(sheet(SEVEN, width=width)).pixels, SEEN_SEVEN) > 0.75


@pytest.mark.parametrize("corner", [(0, 0), (1400, 0), (700, 1200)])
def test_tiny_digit_in_a_large_canvas_is_found(corner: tuple[int, int]) -> None:
    """A digit of a tenth of the canvas, even in its corner, is segmented again from near."""
    canvas = Image.new("RGB", (1600, 1400), "white")
    canvas.paste(sheet(SEVEN), corner)
    prepared = see(canvas)
    assert same(prepared.pixels, SEEN_SEVEN) > 0.9
    assert prepared.box is not None
    assert np.allclose(np.subtract(prepared.box, (*corner, *corner)), (50, 38, 146, 174), atol=8)


def test_digit_may_touch_the_border() -> None:
    """A digit that fills its picture from border to border is complete."""
    assert same(see(sheet(SEVEN).crop((50, 38, 146, 175))).pixels, SEEN_SEVEN) > 0.75  # a pixel beside is 0.8


@pytest.mark.parametrize("invert", [False, True])
def test_thick_digit_cropped_to_its_box_keeps_its_polarity(invert: bool) -> None:
    """Ink that covers half of the picture and touches all its borders is still found to be ink."""
    ring = Image.new("L", (100, 130), 0 if invert else 255)
    ImageDraw.Draw(ring).ellipse((0, 0, 99, 129), outline=255 if invert else 0, width=28)
    prepared = see(ring)
    assert prepared.polarity == ("light_on_dark" if invert else "dark_on_light")
    assert prepared.ink_ratio > 0.4
    assert prepared.pixels[14, 14] == 0
    assert prepared.pixels[4:24].max() == 255


def test_broken_five_is_one_digit() -> None:
    """A 5 whose bar does not touch its body keeps its bar, and is not several shapes."""
    whole, body = see(sheet(FIVE_BODY, FIVE_BAR)), see(sheet(FIVE_BODY))
    assert whole.box is not None
    assert whole.box[1] < 32
    assert whole.warnings == ()
    assert same(whole.pixels, body.pixels) < 0.9


def test_two_digits_are_told() -> None:
    """Two digits side by side get the warning `several_shapes`."""
    both = sheet([(30, 60), (30, 140)], [(160, 60), (160, 140)])
    assert see(both).warnings == ("several_shapes",)


@pytest.mark.parametrize("lean", [0, 3])
def test_grid_lines_and_frames_are_no_ink(lean: int) -> None:
    """Ruled lines, also where a stroke crosses them, and the frame of a cell leave the digit as it was."""
    image = sheet(SEVEN)
    pen = ImageDraw.Draw(image)
    for at in (20, 110, 190):
        pen.line([(0, at), (200, at + lean)], fill="#777777", width=3)
    pen.line([(4, 0), (4 + lean, 200)], fill="black", width=6)
    assert same(see(image).pixels, SEEN_SEVEN) > 0.9


@pytest.mark.parametrize("cells", [1, 3])
@pytest.mark.parametrize("lean", [0, 3])
def test_the_boxes_of_a_form_are_no_ink(lean: int, cells: int) -> None:
    """A box around the digit, with paper around it, alone or the middle one of a row, leaves the digit as it was."""
    image = Image.new("RGB", (500, 300), "white")
    image.paste(sheet(SEVEN), (150, 50))
    plain = see(image).pixels
    pen = ImageDraw.Draw(image)
    left, right = (180, 320) if cells == 1 else (40, 460)
    for at in (70, 240):
        pen.line([(left, at), (right, at + lean)], fill="#333333", width=4)
    for at in np.linspace(left, right, cells + 1):
        pen.line([(at, 70), (at - lean, 240 + lean)], fill="#333333", width=4)
    assert same(see(image).pixels, plain) > 0.75


def test_specks_and_a_neighbours_stroke_are_no_ink() -> None:
    """Dust, and a stroke that reaches in from the cell beside, do not move the digit."""
    image = sheet(SEVEN, [(0, 150), (9, 190)])
    for x, y in ((20, 20), (180, 180), (30, 120), (170, 90)):
        image.paste("black", (x, y, x + 3, y + 3))
    prepared = see(image)
    assert same(prepared.pixels, SEEN_SEVEN) > 0.9
    assert prepared.warnings == ()


@pytest.mark.parametrize("shadow", [0.35, 0.6])
def test_shadows_and_uneven_light_are_no_ink(shadow: float) -> None:
    """A lamp at one side and a hand's hard shadow across the digit leave its strokes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:1:200j, 0:1:200j]
    light = (1 - 0.4 * x) * np.where(y + 0.5 * x > 0.9, 1 - shadow, 1) + rng.normal(0, 0.01, (200, 200))
    photo = np.asarray(sheet(SEVEN, ink="#202060", paper="#e0d8c8")) * light[..., None]
    prepared = see(Image.fromarray(photo.clip(0, 255).astype(np.uint8)))
    assert prepared.polarity == "dark_on_light"
    assert same(prepared.pixels, SEEN_SEVEN) > 0.75


def test_page_edge_is_no_ink() -> None:
    """The dark table beside the page is not the digit, however dark and large."""
    image = sheet(SEVEN, ink="#404080", paper="#d0d0c8")
    image.paste("#181410", (0, 0, 25, 200))
    assert same(see(image).pixels, SEEN_SEVEN) > 0.9


NOISE = np.random.default_rng(1).normal(128, 6, (120, 120)).clip(0, 255).astype(np.uint8)
BLANK = {
    "white": Image.new("L", (50, 40), 255),
    "black": Image.new("L", (50, 40), 0),
    "grey": Image.new("RGB", (500, 400), (127, 127, 127)),
    "transparent": Image.new("RGBA", (50, 40), (0, 0, 0, 0)),
    "28 x 28": Image.new("L", (28, 28), 0),
    "noise of a camera": Image.fromarray(NOISE),
    "gradient": Image.fromarray(np.linspace(90, 200, 100).astype(np.uint8)[None].repeat(100, 0)),
}


@pytest.mark.parametrize("image", BLANK.values(), ids=BLANK.keys())
def test_blank_picture_is_no_error(image: Image.Image) -> None:
    """A picture without ink gives zeros and the warning `no_ink`."""
    prepared = see(image)
    assert prepared.warnings == ("no_ink",)
    assert prepared.box is None
    assert not prepared.pixels.any()
    assert prepared.ink_ratio == 0


def test_faint_ink_is_read_with_a_warning() -> None:
    """Ink of little contrast is read, with the warning `too_faint`."""
    prepared = see(sheet(SEVEN, ink="#f0f0f0"))
    assert prepared.warnings == ("too_faint",)
    assert same(prepared.pixels, SEEN_SEVEN) > 0.9


def test_too_few_numbers_say_how_many_are_needed() -> None:
    """An array of one pixel is refused; the error quotes the minimum."""
    with pytest.raises(Unusable, match="at least 2 x 5"):
        prepare(np.zeros((1, 1), np.uint8))


@pytest.mark.parametrize("shape", [(2, 400), (400, 2), (2, 5), (5, 5), (7, 9), (28, 28), (3000, 6)])
def test_any_size_and_aspect_gives_an_answer(shape: tuple[int, int]) -> None:
    """Very small or narrow pictures of noise are prepared, too: the result is 28 x 28."""
    noise = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    assert prepare(noise).pixels.shape == (28, 28)


def test_random_pictures_never_break_it() -> None:
    """Random blobs, strokes and noise never raise an error, and give the same result twice."""
    rng = np.random.default_rng(3)
    for _ in range(150):
        height, width = rng.integers(5, 90, 2)
        cells = Image.fromarray(rng.integers(0, 256, (rng.integers(1, 9), rng.integers(1, 9)), np.uint8))
        picture = np.asarray(cells.resize((int(width), int(height)), Image.Resampling(int(rng.integers(0, 4)))))
        one, two = prepare(picture), prepare(picture.copy())
        assert (one.pixels == two.pixels).all()
        assert one.pixels.dtype == np.uint8


def test_big_photo_is_fast() -> None:
    """A 12-megapixel JPEG takes well under 200 ms of processor time even on a busy machine; alone it takes about 40."""
    stream = io.BytesIO()
    sheet(SEVEN).resize((4000, 3000)).save(stream, "JPEG")
    times = []
    for _ in range(3):
        start = time.process_time()
        prepared = read(stream.getvalue(), max_pixels=LIMIT)
        times.append(time.process_time() - start)
    assert min(times) < 0.2
    assert prepared.box is not None
    assert prepared.box[2] > 2000
