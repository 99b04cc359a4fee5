"""Handwriting-like pictures: digits as people would send them, in families of pens, papers, lights and devices.

In: a family's name, a label and maybe an MNIST digit, a random generator. Out: PNG or JPEG bytes. For tests, for
measuring the way from a picture to the network's input, and for training on what comes out of it. The family `board` is
held out: nothing may be tuned on it. It knows nothing of how pictures are read.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training import papers
from training.strokes import Segments, draw, trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from training.papers import Colour, Field

Random = np.random.Generator
HELD_OUT = "board"


def render(family: str, digit: NDArray[np.uint8] | None, label: int, rng: Random) -> bytes:
    """One picture of `label`: the middle line of an MNIST `digit`, uint8[28, 28], or without one a shape of our own."""
    return FAMILIES[family](draw(label, rng) if digit is None else trace(digit, rng), rng)


def write_folder(
    folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8], *, per_family: int, seed: int
) -> None:
    """Write pictures of every family and labels.csv (file, label); every third is of our own shapes, the rest MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, family in enumerate(FAMILIES):
        rng = np.random.default_rng([seed, number])
        for i in range(per_family):
            at = rng.integers(len(labels))
            label = int(labels[at])
            data = render(family, None if i % 3 == 0 else images[at], label, rng)
            kind = "png" if data.startswith(b"\x89PNG") else "jpg"
            file = f"{family}_{label}_{i:05d}.{kind}"
            (folder / file).write_bytes(data)
            rows.append((file, label))
    with (folder / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "label"), *rows])


def _mouse(digit: Segments, rng: Random) -> bytes:
    """A paint program and a mouse: hard thin lines, wherever the hand happened to be."""
    height, width = _canvas(rng, 90, 600)
    size = max(22.0, min(height, width) * rng.uniform(0.08, 0.95) ** 1.3)
    segments = _placed(_shaky(digit, 0.006, rng), size, height, width, rng)
    cover = papers.coverage(segments, height, width, _even(segments, rng.uniform(0.8, 3.4)))
    if rng.random() < 0.5:
        cover = (cover > 0.4).astype(np.float32)
    dark = rng.random() < 0.8
    ground = _near(1.0 if dark else 0.0, rng) if rng.random() < 0.3 else (float(dark),) * 3
    scene = papers.stain(papers.plain(height, width, ground), cover, _colour(dark, rng))
    image = Image.fromarray(papers.to_bytes(scene))
    if rng.random() < 0.3:
        image = image.convert(str(rng.choice(["L", "P", "1"] if set(ground) <= {0.0, 1.0} else ["L", "P"])))
    return _png(image) if image.mode in "1P" or rng.random() < 0.8 else _jpeg(image, rng.integers(40, 95))


def _brush(digit: Segments, rng: Random) -> bytes:
    """A finger or a stylus on a screen: a thick round brush, light and dark themes, colours, transparent grounds."""
    height, width = _canvas(rng, 64, 640)
    size = min(height, width) * rng.uniform(0.3, 0.93)
    thick = size * rng.uniform(0.05, 0.2)
    segments = _placed(_shaky(digit, 0.003, rng), max(20.0, size - thick), height, width, rng, room=thick / 2)
    pressure = rng.random() < 0.3
    cover = papers.coverage(segments, height, width, _pressed(segments, thick, 0.2 if pressure else 0.0, rng))
    dark = rng.random() < 0.55
    colour = _colour(dark, rng)
    if rng.random() < 0.25:
        pixels = np.concatenate([papers.plain(height, width, colour), cover[..., None]], 2)
        return _png(Image.fromarray(papers.to_bytes(pixels)))
    ground = _near(rng.uniform(0.85, 1) if dark else rng.uniform(0, 0.18), rng)
    scene = papers.stain(papers.plain(height, width, ground), cover, colour)
    image = Image.fromarray(papers.to_bytes(scene))
    return _png(image) if rng.random() < 0.7 else _jpeg(image, rng.integers(40, 95))


def _pen_scan(digit: Segments, rng: Random) -> bytes:
    """Pen or pencil on paper, scanned: grain, ruled and squared sheets, coloured ink, faint pencil, specks."""
    height, width = _canvas(rng, 60, 420)
    side = min(height, width)
    paper = _near(rng.uniform(0.86, 1.0), rng, 0.03)
    scene = papers.sheet(height, width, paper, rng.uniform(0.002, 0.03), rng)
    if rng.random() < 0.4:
        spacing = side * rng.uniform(0.15, 1.2)
        scene = papers.lines(scene, spacing, _line_colour(rng), rng.uniform(0.2, 0.7), both=rng.random() < 0.5, rng=rng)
    size = side * rng.uniform(0.35, 0.9)
    pencil = rng.random() < 0.3
    pen = rng.uniform(0.02, 0.075)
    cover = _penned(digit, size, (height, width), rng, pen=pen, rough=0.5 if pencil else 0.12)
    ink: Colour = _near(rng.uniform(0.3, 0.68), rng, 0.01) if pencil else _pen_colour(rng)
    scene = papers.stain(papers.dirt(scene, rng), cover, ink)
    image = Image.fromarray(papers.to_bytes(papers.camera(scene, rng.uniform(0.2, 1.0), rng.uniform(0, 0.015), rng)))
    if rng.random() < 0.35:
        fax = size * pen > 3 and max(ink) < 0.35 and rng.random() < 0.5
        image = image.convert("1" if fax else "L", dither=Image.Dither.NONE)
    return _png(image) if image.mode == "1" or rng.random() < 0.5 else _jpeg(image, rng.integers(35, 95))


def _phone(digit: Segments, rng: Random) -> bytes:
    """A photo of paper: uneven light, shadows, tilt, page edges, cell borders, neighbours' strokes, noise, JPEG."""
    height, width = _canvas(rng, 56, 420)
    side = min(height, width)
    paper = _near(rng.uniform(0.6, 0.95), rng, 0.06)
    scene = papers.sheet(height, width, paper, rng.uniform(0.004, 0.03), rng)
    kind = rng.random()
    if kind < 0.35:
        scene = papers.frame(scene, side * 0.05, side * rng.uniform(0.01, 0.05), (0.2,) * 3, rng)
    elif kind < 0.6:
        scene = papers.lines(
            scene, side * rng.uniform(0.15, 1), _line_colour(rng), rng.uniform(0.2, 0.8), both=kind < 0.48, rng=rng
        )
    size = side * rng.uniform(0.35, 0.85)
    pen = _pen_colour(rng)
    cover = _penned(digit, size, (height, width), rng, pen=rng.uniform(0.03, 0.13), rough=0.15)
    scene = papers.stain(papers.dirt(scene, rng), cover, pen)
    if rng.random() < 0.25:
        scene = papers.stain(scene, _neighbour(size, height, width, rng), pen)
    if rng.random() < 0.6:
        table = _near(rng.uniform(0.05, 0.5), rng, 0.08)
        scene = papers.tilt(scene, table, rng.uniform(0.01, 0.09), rng)
    scene = papers.light(scene, rng)
    blur = max(0.3, side * rng.uniform(0.001, 0.012))
    image = Image.fromarray(papers.to_bytes(papers.camera(scene, blur, rng.uniform(0.003, 0.03), rng)))
    return _photo(image, rng)


def _board(digit: Segments, rng: Random) -> bytes:
    """Held out: chalk on slate, marker on whiteboard, gel pen on black or brown paper, felt pen on coloured notes."""
    height, width = _canvas(rng, 70, 500)
    side = min(height, width)
    kind = rng.choice(["chalk", "whiteboard", "gel", "note", "graph"])
    dark = kind == "chalk" or (kind == "gel" and rng.random() < 0.5)
    grounds: dict[str, Colour] = {
        "chalk": (0.13, rng.uniform(0.15, 0.3), 0.17),
        "whiteboard": (0.88, 0.9, 0.92),
        "gel": (0.1, 0.1, 0.12) if dark else (0.66, 0.5, 0.35),
        "note": [(0.98, 0.92, 0.4), (0.98, 0.6, 0.7), (0.55, 0.85, 0.95), (0.7, 0.9, 0.5)][rng.integers(4)],
        "graph": (0.95, 0.96, 0.93),
    }
    scene = papers.sheet(height, width, grounds[kind], 0.03 if kind in ("chalk", "gel") else 0.008, rng)
    if kind == "graph":
        scene = papers.lines(scene, side * rng.uniform(0.06, 0.15), (0.3, 0.6, 0.45), 0.5, both=True, rng=rng)
    rough = {"chalk": 0.6, "whiteboard": 0.1}.get(str(kind), 0.15)
    cover = _penned(
        digit, side * rng.uniform(0.35, 0.85), (height, width), rng, pen=rng.uniform(0.04, 0.12), rough=rough
    )
    ink: Colour = (0.93, 0.92, 0.88) if dark or (kind == "gel" and rng.random() < 0.5) else _pen_colour(rng)
    if kind == "chalk":
        wiped = np.clip(papers.cloud(height, width, 4, rng), 0, 2) * 0.06
        scene = papers.stain(scene, wiped, (0.9, 0.9, 0.9))
    scene = papers.stain(scene, cover, ink)
    if kind == "whiteboard" and rng.random() < 0.5:
        y, x = np.mgrid[0:height, 0:width]
        far = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height)) / (side * rng.uniform(0.1, 0.3))
        scene = papers.stain(scene, np.exp(-(far**2)).astype(np.float32) * 0.6, (1.0, 1.0, 1.0))
    scene = papers.light(papers.tilt(scene, (0.4, 0.38, 0.35), 0.04, rng), rng)
    image = Image.fromarray(papers.to_bytes(papers.camera(scene, side * 0.004, rng.uniform(0.004, 0.02), rng)))
    return _photo(image, rng)


FAMILIES: dict[str, Callable[[Segments, Random], bytes]] = {
    "mouse": _mouse,
    "brush": _brush,
    "pen_scan": _pen_scan,
    "phone": _phone,
    HELD_OUT: _board,
}


def _canvas(rng: Random, low: int, high: int) -> tuple[int, int]:
    """Height and width: sides evenly spread on a logarithmic scale, mostly near square."""
    side = np.exp(rng.uniform(np.log(low), np.log(high)))
    aspect = np.exp(rng.normal(0, 0.2 if rng.random() < 0.4 else 0.04))
    return max(low // 2, int(side * aspect)), max(low // 2, int(side / aspect))


def _placed(
    digit: Segments, size: float, height: int, width: int, rng: Random, *, room: float = 2.0, central: bool = False
) -> Segments:
    """The digit `size` pixels long somewhere on the canvas, or about its middle, `room` away from the border."""
    low, high = digit.min((0, 1)) * size, digit.max((0, 1)) * size
    free = np.maximum(np.array([width, height]) - (high - low) - 2 * room, 0)
    share = np.clip(rng.normal(0.5, 0.15, 2), 0, 1) if central or rng.random() < 0.6 else rng.uniform(0, 1, 2)
    return np.asarray(digit * size - low + room + share * free, np.float32)


def _shaky(digit: Segments, strength: float, rng: Random) -> Segments:
    """A tremor of this share of the digit's size, the same for ends that meet."""
    keys, inverse = np.unique(digit.reshape(-1, 2).round(5), axis=0, return_inverse=True)
    return np.asarray((keys + rng.normal(0, strength, keys.shape))[inverse.ravel()].reshape(digit.shape), np.float32)


def _even(segments: Segments, thick: float) -> Field:
    return np.full(len(segments), thick, np.float32)


def _pressed(segments: Segments, thick: float, spread: float, rng: Random) -> Field:
    """A thickness that swells and fades along the strokes by about `spread` of itself."""
    knots = np.arange(0, len(segments) + 12, 12)
    wave = np.interp(np.arange(len(segments)), knots, rng.normal(0, 1, len(knots)))
    return np.asarray(thick * np.clip(1 + spread * wave, 0.4, 1.8), np.float32)


def _penned(digit: Segments, size: float, canvas: tuple[int, int], rng: Random, *, pen: float, rough: float) -> Field:
    """A pen `pen` times the digit's size wide; the paper's tooth leaves gaps up to the share `rough`."""
    height, width = canvas
    thick = max(1.0, size * pen)
    segments = _placed(digit, max(18.0, size - thick), height, width, rng, room=thick / 2 + 1, central=True)
    cover = papers.coverage(segments, height, width, _pressed(segments, thick, 0.12, rng))
    tooth = papers.cloud(height, width, max(height, width) / 2, rng)
    return np.asarray(cover * np.clip(1 - rough * np.clip(0.6 + tooth, 0, 2), 0, 1), np.float32)


def _neighbour(size: float, height: int, width: int, rng: Random) -> Field:
    """A part of another digit that reaches in at the border."""
    other = draw(int(rng.integers(10)), rng) * np.float32(size)
    side = rng.integers(4)
    deep = size * rng.uniform(0.42, 0.5)
    at = [
        (rng.uniform(0, width), -deep),
        (rng.uniform(0, width), height + deep),
        (-deep, rng.uniform(0, height)),
        (width + deep, rng.uniform(0, height)),
    ][side]
    return papers.coverage(
        np.asarray(other + np.array(at), np.float32), height, width, _even(other, max(1.0, size * 0.05))
    )


def _near(grey: float, rng: Random, spread: float = 0.05) -> Colour:
    red, green, blue = np.clip(grey + rng.normal(0, spread, 3), 0, 1).tolist()
    return red, green, blue


def _colour(dark: bool, rng: Random) -> Colour:
    """Black or white half of the time, else a colour out of a paint program's box that shows on the ground."""
    if rng.random() < 0.5:
        return _near(0.05, rng) if dark else _near(0.95, rng)
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


def _pen_colour(rng: Random) -> Colour:
    pens = [
        (0.08, 0.08, 0.1),
        (0.1, 0.15, 0.5),
        (0.15, 0.25, 0.65),
        (0.7, 0.1, 0.12),
        (0.1, 0.4, 0.2),
        (0.3, 0.1, 0.5),
        (0.25, 0.25, 0.28),
    ]
    return _near(0, rng) if rng.random() < 0.1 else pens[rng.integers(len(pens))]


def _line_colour(rng: Random) -> Colour:
    return [(0.5, 0.65, 0.9), (0.6, 0.6, 0.62), (0.9, 0.6, 0.6), (0.3, 0.3, 0.35)][rng.integers(4)]


def _photo(image: Image.Image, rng: Random) -> bytes:
    """JPEG, sometimes lying on its side with the EXIF that says so."""
    exif = Image.Exif()
    if rng.random() < 0.2:
        image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
    return _jpeg(image, rng.integers(30, 95), exif=exif.tobytes())


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _jpeg(image: Image.Image, quality: int | np.integer, exif: bytes = b"") -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(quality), exif=exif)
    return stream.getvalue()
