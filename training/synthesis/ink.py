"""Pictures of digits as people send them, in families of pens, papers, lights and devices.

In: a family's name, a label and maybe an MNIST digit, a random generator. Out: PNG or JPEG bytes, for tests, for
measuring the service's picture preparation, and for training. The family `board` is held out: nothing may be tuned on
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from . import papers, pens
from .strokes import Segments, draw, trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .papers import Colour

Random = np.random.Generator
HELD_OUT = "board"


def render(family: str, digit: NDArray[np.uint8] | None, label: int, rng: Random) -> bytes:
    """Render `label` along an MNIST `digit`, uint8[28,28], or without one in a shape of our own."""
    return FAMILIES[family](draw(label, rng) if digit is None else trace(digit, rng), rng)


def _mouse(digit: Segments, rng: Random) -> bytes:
    """A paint program and a mouse: hard thin lines, anywhere on the canvas."""
    height, width = pens.choose_canvas(rng, 90, 600)
    size = max(22.0, min(height, width) * rng.uniform(0.08, 0.95) ** 1.3)
    segments = pens.place(pens.add_tremor(digit, 0.006, rng), size, height, width, rng)
    cover = papers.coverage(segments, height, width, pens.keep_thickness(segments, rng.uniform(0.8, 3.4)))
    if rng.random() < 0.5:
        cover = (cover > 0.4).astype(np.float32)
    dark = rng.random() < 0.8
    ground = pens.choose_near(1.0 if dark else 0.0, rng) if rng.random() < 0.3 else (float(dark),) * 3
    scene = papers.apply_ink(papers.fill(height, width, ground), cover, pens.choose_colour(dark, rng))
    image = Image.fromarray(papers.to_bytes(scene))
    if rng.random() < 0.3:
        image = image.convert(str(rng.choice(["L", "P", "1"] if set(ground) <= {0.0, 1.0} else ["L", "P"])))
    return pens.to_png(image) if image.mode in "1P" or rng.random() < 0.8 else pens.to_jpeg(image, rng.integers(40, 95))


def _brush(digit: Segments, rng: Random) -> bytes:
    """A finger or a stylus on a screen: a thick round brush, themes, colours, transparent backgrounds."""
    height, width = pens.choose_canvas(rng, 64, 640)
    size = min(height, width) * rng.uniform(0.3, 0.93)
    thick = size * (rng.uniform(0.2, 0.27) if rng.random() < 0.1 else rng.uniform(0.05, 0.2))
    tremor = rng.uniform(0.006, 0.014) if rng.random() < 0.15 else 0.003
    segments = pens.place(
        pens.add_tremor(digit, tremor, rng), max(20.0, size - thick), height, width, rng, room=thick / 2
    )
    pressure = rng.random() < 0.3
    cover = papers.coverage(
        segments, height, width, pens.vary_thickness(segments, thick, 0.2 if pressure else 0.0, rng)
    )
    dark = rng.random() < 0.55
    colour = pens.choose_colour(dark, rng)
    if rng.random() < 0.25:
        pixels = np.concatenate([papers.fill(height, width, colour), cover[..., None]], 2)
        return pens.to_png(Image.fromarray(papers.to_bytes(pixels)))
    ground = pens.choose_near(rng.uniform(0.85, 1) if dark else rng.uniform(0, 0.18), rng)
    scene = papers.apply_ink(papers.fill(height, width, ground), cover, colour)
    image = Image.fromarray(papers.to_bytes(scene))
    return pens.to_png(image) if rng.random() < 0.7 else pens.to_jpeg(image, rng.integers(40, 95))


def _pen_scan(digit: Segments, rng: Random) -> bytes:
    """Pen or pencil on paper, scanned: grain, ruled and squared sheets, coloured ink, faint pencil, specks."""
    height, width = pens.choose_canvas(rng, 60, 420)
    side = min(height, width)
    paper = pens.choose_near(rng.uniform(0.86, 1.0), rng, 0.03)
    scene = papers.make_sheet(height, width, paper, rng.uniform(0.002, 0.03), rng)
    if rng.random() < 0.4:
        spacing = side * rng.uniform(0.15, 1.2)
        scene = papers.rule(
            scene, spacing, pens.choose_line_colour(rng), rng.uniform(0.2, 0.7), both=rng.random() < 0.5, rng=rng
        )
    size = side * rng.uniform(0.35, 0.9)
    pencil = rng.random() < 0.3
    pen = rng.uniform(0.02, 0.075)
    cover = pens.write(digit, size, (height, width), rng, pen=pen, rough=0.5 if pencil else 0.12)
    ink: Colour = pens.choose_near(rng.uniform(0.3, 0.68), rng, 0.01) if pencil else pens.choose_pen_colour(rng)
    if rng.random() < 0.2:
        scene = papers.add_rules_beside(scene, cover, lambda: pens.choose_rule_colour(rng), rng)
    scene = papers.apply_ink(papers.add_dirt(scene, rng), cover, ink)
    if rng.random() < 0.15:
        scene = papers.apply_ink(scene, pens.draw_neighbour(size, height, width, rng), ink)
    image = Image.fromarray(
        papers.to_bytes(papers.photograph(scene, rng.uniform(0.2, 1.0), rng.uniform(0, 0.015), rng))
    )
    if rng.random() < 0.35:
        fax = size * pen > 3 and max(ink) < 0.35 and rng.random() < 0.5
        image = image.convert("1" if fax else "L", dither=Image.Dither.NONE)
    return pens.to_png(image) if image.mode == "1" or rng.random() < 0.5 else pens.to_jpeg(image, rng.integers(35, 95))


def _phone(digit: Segments, rng: Random) -> bytes:
    """A photo of paper: uneven light, shadows, tilt, page edges, cell borders, neighbours' strokes, noise, JPEG."""
    height, width = pens.choose_canvas(rng, 56, 420)
    side = min(height, width)
    paper = pens.choose_near(rng.uniform(0.6, 0.95), rng, 0.06)
    scene = papers.make_sheet(height, width, paper, rng.uniform(0.004, 0.03), rng)
    kind = rng.random()
    if kind < 0.35:
        scene = papers.draw_frame(scene, side * 0.05, side * rng.uniform(0.01, 0.05), (0.2,) * 3, rng)
    elif kind < 0.6:
        scene = papers.rule(
            scene,
            side * rng.uniform(0.15, 1),
            pens.choose_line_colour(rng),
            rng.uniform(0.2, 0.8),
            both=kind < 0.48,
            rng=rng,
        )
    size = side * rng.uniform(0.35, 0.85)
    pen = pens.choose_pen_colour(rng)
    cover = pens.write(digit, size, (height, width), rng, pen=rng.uniform(0.03, 0.13), rough=0.15)
    if rng.random() < 0.3:
        scene = papers.add_rules_beside(scene, cover, lambda: pens.choose_rule_colour(rng), rng)
    scene = papers.apply_ink(papers.add_dirt(scene, rng), cover, pen)
    if rng.random() < 0.25:
        scene = papers.apply_ink(scene, pens.draw_neighbour(size, height, width, rng), pen)
    if rng.random() < 0.6:
        table = pens.choose_near(rng.uniform(0.05, 0.5), rng, 0.08)
        scene = papers.tilt(scene, table, rng.uniform(0.01, 0.09), rng)
    scene = papers.add_light(scene, rng)
    blur = max(0.3, side * rng.uniform(0.001, 0.012))
    image = Image.fromarray(papers.to_bytes(papers.photograph(scene, blur, rng.uniform(0.003, 0.03), rng)))
    return pens.to_photo(image, rng)


def _board(digit: Segments, rng: Random) -> bytes:
    """Held out: chalk on slate, marker on whiteboard, gel pen on black or brown paper, felt pen on coloured notes."""
    height, width = pens.choose_canvas(rng, 70, 500)
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
    scene = papers.make_sheet(height, width, grounds[kind], 0.03 if kind in ("chalk", "gel") else 0.008, rng)
    if kind == "graph":
        scene = papers.rule(scene, side * rng.uniform(0.06, 0.15), (0.3, 0.6, 0.45), 0.5, both=True, rng=rng)
    rough = {"chalk": 0.6, "whiteboard": 0.1}.get(str(kind), 0.15)
    cover = pens.write(
        digit, side * rng.uniform(0.35, 0.85), (height, width), rng, pen=rng.uniform(0.04, 0.12), rough=rough
    )
    ink: Colour = (0.93, 0.92, 0.88) if dark or (kind == "gel" and rng.random() < 0.5) else pens.choose_pen_colour(rng)
    if kind == "chalk":
        wiped = np.clip(papers.make_noise(height, width, 4, rng), 0, 2) * 0.06
        scene = papers.apply_ink(scene, wiped, (0.9, 0.9, 0.9))
    scene = papers.apply_ink(scene, cover, ink)
    if kind == "whiteboard" and rng.random() < 0.5:
        y, x = np.mgrid[0:height, 0:width]
        far = np.hypot(x - rng.uniform(0, width), y - rng.uniform(0, height)) / (side * rng.uniform(0.1, 0.3))
        scene = papers.apply_ink(scene, np.exp(-(far**2)).astype(np.float32) * 0.6, (1.0, 1.0, 1.0))
    scene = papers.add_light(papers.tilt(scene, (0.4, 0.38, 0.35), 0.04, rng), rng)
    image = Image.fromarray(papers.to_bytes(papers.photograph(scene, side * 0.004, rng.uniform(0.004, 0.02), rng)))
    return pens.to_photo(image, rng)


FAMILIES: dict[str, Callable[[Segments, Random], bytes]] = {
    "mouse": _mouse,
    "brush": _brush,
    "pen_scan": _pen_scan,
    "phone": _phone,
    HELD_OUT: _board,
}
