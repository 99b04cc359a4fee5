"""Pens, colours and files: place a digit on a canvas, write it with a pen, and save the picture as a device does.

In: segments of a digit, and a random generator. Out: segments in pixels, coverage, colours, PNG and JPEG bytes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from . import papers
from .strokes import Segments, draw

if TYPE_CHECKING:
    from .papers import Colour, Field

Random = np.random.Generator


def choose_canvas(rng: Random, low: int, high: int) -> tuple[int, int]:
    """Choose height and width, uniform on a logarithmic scale, mostly near square."""
    side = np.exp(rng.uniform(np.log(low), np.log(high)))
    aspect = np.exp(rng.normal(0, 0.2 if rng.random() < 0.4 else 0.04))
    return max(low // 2, int(side * aspect)), max(low // 2, int(side / aspect))


def place(
    digit: Segments, size: float, height: int, width: int, rng: Random, *, room: float = 2.0, central: bool = False
) -> Segments:
    """Place the digit, `size` pixels long, on the canvas or near its middle, `room` pixels away from the border."""
    low, high = digit.min((0, 1)) * size, digit.max((0, 1)) * size
    free = np.maximum(np.array([width, height]) - (high - low) - 2 * room, 0)
    share = np.clip(rng.normal(0.5, 0.15, 2), 0, 1) if central or rng.random() < 0.6 else rng.uniform(0, 1, 2)
    return np.asarray(digit * size - low + room + share * free, np.float32)


def add_tremor(digit: Segments, strength: float, rng: Random) -> Segments:
    """Add a tremor of this share of the digit's size, the same for ends that meet."""
    keys, inverse = np.unique(digit.reshape(-1, 2).round(5), axis=0, return_inverse=True)
    return np.asarray((keys + rng.normal(0, strength, keys.shape))[inverse.ravel()].reshape(digit.shape), np.float32)


def keep_thickness(segments: Segments, thick: float) -> Field:
    """Return the same thickness for all segments."""
    return np.full(len(segments), thick, np.float32)


def vary_thickness(segments: Segments, thick: float, spread: float, rng: Random) -> Field:
    """Return a thickness that varies along the strokes by about `spread` of itself."""
    knots = np.arange(0, len(segments) + 12, 12)
    wave = np.interp(np.arange(len(segments)), knots, rng.normal(0, 1, len(knots)))
    return np.asarray(thick * np.clip(1 + spread * wave, 0.4, 1.8), np.float32)


def write(digit: Segments, size: float, canvas: tuple[int, int], rng: Random, *, pen: float, rough: float) -> Field:
    """Write with a pen `pen` times the digit's size wide; rough paper leaves gaps up to the share `rough`.

    Some pens give less and less ink towards one side of the canvas.
    """
    height, width = canvas
    thick = max(1.0, size * pen)
    segments = place(digit, max(18.0, size - thick), height, width, rng, room=thick / 2 + 1, central=True)
    cover = papers.coverage(segments, height, width, vary_thickness(segments, thick, 0.12, rng))
    tooth = papers.make_noise(height, width, max(height, width) / 2, rng)
    if rng.random() < 0.15:
        angle = rng.uniform(0, 2 * np.pi)
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        far = np.clip(0.5 + x * np.cos(angle) + y * np.sin(angle), 0, 1)
        cover = cover * (1 - rng.uniform(0.2, 0.65) * far)
    return np.asarray(cover * np.clip(1 - rough * np.clip(0.6 + tooth, 0, 2), 0, 1), np.float32)


def draw_neighbour(size: float, height: int, width: int, rng: Random) -> Field:
    """Return a part of another digit that reaches in at the border, such as the foot of one on the line above."""
    other = draw(int(rng.integers(10)), rng) * np.float32(size)
    side = rng.integers(4)
    deep = size * rng.uniform(0.3, 0.5)
    at = [
        (rng.uniform(0, width), -deep),
        (rng.uniform(0, width), height + deep),
        (-deep, rng.uniform(0, height)),
        (width + deep, rng.uniform(0, height)),
    ][side]
    thick = max(1.0, size * rng.uniform(0.03, 0.08))
    return papers.coverage(np.asarray(other + np.array(at), np.float32), height, width, keep_thickness(other, thick))


def choose_near(grey: float, rng: Random, spread: float = 0.05) -> Colour:
    """Choose a colour within about `spread` of this grey."""
    red, green, blue = np.clip(grey + rng.normal(0, spread, 3), 0, 1).tolist()
    return red, green, blue


def choose_colour(dark: bool, rng: Random) -> Colour:
    """Choose black or white half of the time, else a colour of a paint program that is visible on the background."""
    if rng.random() < 0.5:
        return choose_near(0.05, rng) if dark else choose_near(0.95, rng)
    on_light = [
        (1, 0, 0),
        (0, 0, 1),
        (0, 0.6, 0),
        (0.6, 0, 0.8),
        (1, 0.5, 0),
        (0, 0.7, 0.8),
        (0.5, 0.5, 0.5),
        (0.95, 0.8, 0),
    ]
    on_dark = [
        (1, 0.9, 0),
        (0, 1, 0),
        (0, 1, 1),
        (1, 0.5, 0.7),
        (1, 0.3, 0.2),
        (0.6, 0.7, 1),
        (0.7, 0.7, 0.7),
        (1, 0.6, 0),
    ]
    box: list[Colour] = on_light if dark else on_dark
    return box[rng.integers(len(box))]


def choose_pen_colour(rng: Random) -> Colour:
    """Choose the ink of a ballpoint, gel or felt pen."""
    pens = [
        (0.08, 0.08, 0.1),
        (0.1, 0.15, 0.5),
        (0.15, 0.25, 0.65),
        (0.7, 0.1, 0.12),
        (0.1, 0.4, 0.2),
        (0.3, 0.1, 0.5),
        (0.25, 0.25, 0.28),
    ]
    return choose_near(0, rng) if rng.random() < 0.1 else pens[rng.integers(len(pens))]


def choose_line_colour(rng: Random) -> Colour:
    """Choose the colour of the lines of ruled and squared paper."""
    return [(0.5, 0.65, 0.9), (0.6, 0.6, 0.62), (0.9, 0.6, 0.6), (0.3, 0.3, 0.35)][rng.integers(4)]


def choose_rule_colour(rng: Random) -> Colour:
    """Choose the colour of the rules of a form: print, or coloured as on ruled paper."""
    return choose_near(rng.uniform(0.05, 0.45), rng, 0.03) if rng.random() < 0.6 else choose_line_colour(rng)


def to_photo(image: Image.Image, rng: Random) -> bytes:
    """Return JPEG bytes, sometimes turned on the side, with the EXIF orientation."""
    exif = Image.Exif()
    if rng.random() < 0.2:
        image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
    return to_jpeg(image, rng.integers(30, 95), exif=exif.tobytes())


def to_png(image: Image.Image) -> bytes:
    """Return the picture as PNG bytes."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def to_jpeg(image: Image.Image, quality: int | np.integer, exif: bytes = b"") -> bytes:
    """Return the picture as JPEG bytes of this quality, 1 to 95."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(quality), exif=exif)
    return stream.getvalue()
