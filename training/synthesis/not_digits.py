"""Pictures that show no digit: letters, signs, scribbles, shapes, silhouettes, textures, noise, digits, empty cells.

In: a kind's name and a random generator; for printed letters, font files. Out: PNG or JPEG bytes, as those of `ink`, in
its tuned families of pens and papers where a pen can draw the kind. They train a network to be uncertain, and measure
that it is.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from . import ink, papers, pens
from .strokes import curve, draw, trace, unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .papers import Field, Scene
    from .strokes import Points, Segments

Random = np.random.Generator
FONT_FOLDERS: Final = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts", "C:/Windows/Fonts")
HELD_OUT_FONTS: Final = (
    "DejaVu",
    "Inter",
    "Comic",
    "Klaudia",
)  # of letters that measure uncertainty; nothing trains on them
SYMBOL_FONTS: Final = ("glyphicons", "opens___", "symbol", "dingbat")
# Letters that look like some people's digits are left out: O, I, l, S, Z, b, q, g, y and similar ones.
LETTERS: Final = "ABCDEFGHJKLMNPQRTUVWXYacdefhjkmnprtuvwx"
SIGNS: Final = "&?@#%+=*<>§€£$√∞ΔΘΛΞΠΣΦΨΩαβγδθλμπφωБДЖИЙЛФЦЧШЩЪЫЭЮЯאבגדהшяжюあいうえかさたなのまん田中木日本永"
DRAWN: Final = tuple(family for family in ink.FAMILIES if family != ink.HELD_OUT)


def find_fonts(*, held_out: bool) -> list[Path]:
    """Return this machine's font files: those of the held-out families, or the others."""
    found = [path for folder in FONT_FOLDERS for path in Path(folder).rglob("*.[ot]tf")]
    texts = [path for path in found if not any(name in path.name.lower() for name in SYMBOL_FONTS)]
    return sorted(path for path in texts if path.name.startswith(HELD_OUT_FONTS) is held_out)


def render(kind: str, rng: Random, fonts: Sequence[Path] = ()) -> bytes:
    """Render a picture of a kind; letters in one of the fonts, or in Pillow's own where there are none."""
    return KINDS[kind](rng, fonts)


def _letter(rng: Random, fonts: Sequence[Path]) -> bytes:
    """A letter or a sign, printed, or its skeleton written with a pen."""
    glyph = _glyph(rng, fonts)
    if rng.random() < 0.5:
        return _print_glyph(glyph, rng)
    small = Image.fromarray(glyph).resize((28, 28), Image.Resampling.BOX)
    return _write(trace(np.asarray(small), rng), rng)


def _glyph(rng: Random, fonts: Sequence[Path]) -> NDArray[np.uint8]:
    """Return a glyph that the font has, light on dark, fitted into uint8[112,112] with a margin."""
    while True:
        path = str(fonts[int(rng.integers(len(fonts)))]) if fonts else ""
        letters = LETTERS if rng.random() < 0.8 or not fonts else SIGNS
        glyph = _draw_glyph(path, letters[rng.integers(len(letters))])
        if glyph is not None:
            return glyph


@lru_cache(maxsize=4096)
def _draw_glyph(path: str, letter: str) -> NDArray[np.uint8] | None:
    font = ImageFont.truetype(path, 96) if path else ImageFont.load_default(96)
    mask, missing = font.getmask(letter, "L"), font.getmask("\uffff", "L")
    if not mask.getbbox() or bytes(mask) == bytes(missing):
        return None
    glyph = Image.frombytes("L", mask.size, bytes(mask)).crop(mask.getbbox())
    scale = 80 / max(glyph.size)
    glyph = glyph.resize([max(1, round(side * scale)) for side in glyph.size])
    canvas = Image.new("L", (112, 112))
    canvas.paste(glyph, ((112 - glyph.width) // 2, (112 - glyph.height) // 2))
    return np.asarray(canvas)


def _print_glyph(glyph: NDArray[np.uint8], rng: Random) -> bytes:
    """A glyph on a plain background, dark on light or light on dark, sometimes turned a little."""
    side = int(np.exp(rng.uniform(np.log(40), np.log(400))))
    turned = Image.fromarray(glyph).rotate(rng.normal(0, 6), Image.Resampling.BICUBIC).resize((side, side))
    dark = rng.random() < 0.7
    ground = pens.choose_near(rng.uniform(0.85, 1) if dark else rng.uniform(0, 0.2), rng)
    cover = np.asarray(turned, np.float32) / np.float32(255)
    return _save(papers.apply_ink(papers.fill(side, side, ground), cover, pens.choose_colour(dark, rng)), rng)


def _scribble(rng: Random) -> bytes:
    """One to four curves, or lines with corners."""
    runs = []
    for left in range(rng.integers(1, 5), 0, -1):
        points = rng.uniform(0, 1, (rng.integers(3 if left > 1 else 5, 9), 2)) * [0.8, 1]
        runs.append(points if rng.random() < 0.3 else curve(points))
    return _write(_join(runs, rng), rng)


def _shape(rng: Random) -> bytes:
    """A polygon, a star, a spiral, a cross, an arrow, a heart, a wave or a tick."""
    t = np.linspace(0, 1, 60)
    kind = rng.integers(8)
    if kind == 0:
        corners = rng.integers(3, 5)
        runs = [_place_on_circle(np.arange(corners + 1) / corners, 1.0)]
    elif kind == 1:
        runs = [_place_on_circle(np.arange(6) * 2 / 5, 1.0)]
    elif kind == 2:
        runs = [_place_on_circle(t * rng.uniform(2, 4), t)]
    elif kind == 3:
        runs = [np.array([[0.0, a], [1.0, b]]) for a, b in ((0, 1), (1, 0))]
        runs = runs if rng.random() < 0.5 else [np.array([[0.5, 0.0], [0.5, 1.0]]), np.array([[0.0, 0.5], [1.0, 0.5]])]
    elif kind == 4:
        runs = [np.array([[0.0, 0.5], [1.0, 0.5]]), np.array([[0.7, 0.2], [1.0, 0.5], [0.7, 0.8]])]
    elif kind == 5:
        x, y = 16 * np.sin(2 * np.pi * t) ** 3, np.cos(2 * np.pi * t) * 13 - 5 * np.cos(4 * np.pi * t)
        runs = [np.stack([x, -y], 1) / 30]
    elif kind == 6:
        runs = [np.stack([t, 0.2 * np.sin(t * 2 * np.pi * rng.uniform(1.5, 4))], 1)]
    else:
        runs = [np.array([[0.0, 0.5], [0.35, 0.9], [1.0, 0.0]])]
    turn = rng.uniform(0, 2 * math.pi) if kind in {0, 1, 2, 4} else 0.0
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return _write(_join([run @ matrix.T for run in runs], rng), rng)


def _several(rng: Random) -> bytes:
    """Two or three digits side by side, touching or nearly so."""
    at, parts = 0.0, []
    for _ in range(rng.integers(2, 4)):
        digit = draw(int(rng.integers(10)), rng)
        width = float(np.ptp(digit[..., 0]))
        parts.append(digit + np.array([at + width / 2, rng.normal(0, 0.05)]))
        at += width + rng.uniform(-0.05, 0.15)
    return _write(unit(np.concatenate(parts), rng, by_hand=False), rng)


def _silhouette(rng: Random) -> bytes:
    """An object on a plain background: one to four filled forms, mostly symmetric, with shades and seams."""
    side = int(np.exp(rng.uniform(np.log(28), np.log(300))))
    cover = _forms(rng).resize((side, side), Image.Resampling.BOX)
    inside = 0.75 + rng.uniform(0, 0.25) * papers.make_noise(side, side, rng.uniform(2, 12), rng)
    if rng.random() < 0.4:
        stripes = np.sin(np.arange(side) / side * 2 * np.pi * rng.uniform(2, 12)) * rng.uniform(0, 0.4)
        inside = inside + (stripes[:, None] if rng.random() < 0.5 else stripes[None, :])
    scene = np.asarray(cover, np.float32) / 255 * np.clip(inside, 0.1, 1)
    return _save(np.repeat((scene if rng.random() < 0.5 else 1 - scene)[..., None], 3, 2), rng)


def _forms(rng: Random) -> Image.Image:
    """Draw one to four filled forms, white on black, mostly symmetric."""
    canvas = Image.new("L", (400, 400))
    brush = ImageDraw.Draw(canvas)
    sides = (1, -1) if rng.random() < 0.7 else (1,)
    for part in range(rng.integers(1, 5)):
        size = rng.uniform((20, 40), (60 if part else 120, 190))
        at = np.array([rng.uniform(0, 90), rng.normal(0, 60)]) if part else np.zeros(2)
        points = _outline(rng) * size
        points[:, 0] += points[:, 1] * at[0] / 250  # forms beside the middle slant, as legs and sleeves do
        for side in sides:
            brush.polygon([(x, y) for x, y in ((points + at) * [side, 1] + 200).tolist()], fill=255)
    left, top, right, bottom = canvas.getbbox() or (0, 0, *canvas.size)
    return canvas.crop((left - 40, top - 40, right + 40, bottom + 40))


def _outline(rng: Random) -> Points:
    """A trapezoid, an ellipse or a blot of radius 1."""
    kind = rng.random()
    if kind < 0.5:
        points = _place_on_circle(np.arange(4) / 4 + 0.125, 1.0)
        return points * (1 + rng.uniform(-0.5, 0.5) * np.sign(points[:, 1:]))
    return (
        _place_on_circle(np.arange(24) / 24, 1.0) if kind < 0.75 else _place_on_circle(rng.random(7).cumsum() / 4, 1.0)
    )


def _texture(rng: Random) -> bytes:
    """Wood, cloth, stone, brick, foliage: noise of several scales, stripes, meshes, blots."""
    height, width = pens.choose_canvas(rng, 40, 400)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    scene = sum((papers.make_noise(height, width, 3.0 * 2**i, rng) * rng.uniform(0, 1) for i in range(5)), np.zeros(()))
    scene = scene / max(1e-3, float(scene.std()))
    kind = rng.integers(5)
    turn, pitch = rng.uniform(0, np.pi), rng.uniform(3, 30)
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    if kind == 0:
        scene = np.sin(2 * np.pi * pitch * (along + 0.03 * scene))
    elif kind == 1:
        scene = np.sign(np.sin(2 * np.pi * pitch * along) * np.sin(2 * np.pi * pitch * across)) + 0.3 * scene
    elif kind == 2:
        scene = np.maximum(np.cos(2 * np.pi * pitch * along), np.cos(2 * np.pi * pitch * across)) ** 5 + 0.1 * scene
    elif kind == 3:
        scene = (scene > rng.uniform(0.3, 1.5)).astype(np.float32)
    low, high = sorted(rng.uniform(0, 1, 2))
    grey = low + (high - low) * (scene - scene.min()) / max(1e-3, float(np.ptp(scene)))
    tint = np.array(pens.choose_near(1.0, rng, 0.2))
    return _save(papers.add_light(np.asarray(grey[..., None] * tint, np.float32), rng), rng)


def _noise(rng: Random) -> bytes:
    """What a broken camera sends: independent pixels, or blocks, uniform, normal, or salt and pepper."""
    height, width = pens.choose_canvas(rng, 28, 300)
    block = int(rng.integers(1, 9)) if rng.random() < 0.5 else 1
    shape = (-(-height // block), -(-width // block), 3 if rng.random() < 0.3 else 1)
    values = rng.random(shape) if rng.random() < 0.5 else 0.5 + rng.normal(0, rng.uniform(0.02, 0.3), shape)
    if rng.random() < 0.3:
        values = (rng.random(shape) < rng.uniform(0.005, 0.5)).astype(np.float64)
    scene = values.repeat(block, 0).repeat(block, 1)[:height, :width]
    return _save(np.broadcast_to(scene, (height, width, 3)).astype(np.float32), rng)


def _empty(rng: Random) -> bytes:
    """An empty cell or a sheet without writing: edges, corners, rules, smudges, parts of neighbours, a shadow."""
    height, width = pens.choose_canvas(rng, 40, 300)
    side = min(height, width)
    scene = papers.make_sheet(height, width, pens.choose_near(rng.uniform(0.5, 0.98), rng, 0.04), 0.015, rng)
    if rng.random() < 0.7:
        inset, thick = side * rng.uniform(0.02, 0.2), side * rng.uniform(0.01, 0.08)
        scene = papers.draw_frame(scene, inset, max(0.8, thick), pens.choose_rule_colour(rng), rng)
    if rng.random() < 0.35:
        scene = papers.rule(
            scene, side * rng.uniform(0.3, 1), pens.choose_rule_colour(rng), 0.6, both=rng.random() < 0.3, rng=rng
        )
    if rng.random() < 0.25:
        digit = np.zeros((height, width), np.float32)  # no ink is in it, but rules are around it
        middle, half = rng.uniform(0.3, 0.7, 2) * [height, width], side * rng.uniform(0.1, 0.3)
        top, left = np.maximum(middle - half, 0).astype(int)
        digit[top : top + int(2 * half), left : left + int(2 * half)] = 1
        scene = papers.add_rules_beside(scene, digit, lambda: pens.choose_rule_colour(rng), rng)
    for _ in range(rng.integers(0, 4)):
        scene = papers.add_dirt(scene, rng)
    if rng.random() < 0.3:
        part = pens.draw_neighbour(side * rng.uniform(0.4, 0.9), height, width, rng)
        scene = papers.apply_ink(scene, part, pens.choose_pen_colour(rng))
    if rng.random() < 0.4:
        scene = papers.tilt(scene, pens.choose_near(rng.uniform(0.05, 0.6), rng), rng.uniform(0.01, 0.09), rng)
    return _save(papers.photograph(papers.add_light(scene, rng), side * rng.uniform(0.002, 0.02), 0.01, rng), rng)


def draw_blank(rng: Random) -> NDArray[np.uint8]:
    """Return uint8[28,28] that no preparation has seen: one shade, noise, lines along the edges, smudges."""
    pixels: NDArray[np.floating] = np.full((28, 28), rng.choice([0.0, 255.0, rng.uniform(0, 255)]))
    kind = rng.integers(5)
    if kind == 1:
        pixels = pixels + rng.normal(0, rng.uniform(1, 90), (28, 28))
    elif kind == 2:
        pixels = np.where(rng.random((28, 28)) < rng.uniform(0.002, 0.5), 255.0, 0.0)
    elif kind == 3:
        pixels = _draw_edges(rng)
    elif kind == 4:
        blot = papers.make_noise(28, 28, rng.uniform(2, 6), rng)
        pixels = pixels + np.clip(blot - rng.uniform(0.2, 1.2), 0, None) * rng.uniform(30, 200)
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)


def _draw_edges(rng: Random) -> Field:
    """Lines along the edges of 28 x 28: one near the border, or corners and frames up to seven pixels inside.

    A single upright line further inside is a 1.
    """
    runs = []
    sides = rng.permutation(4)[: rng.integers(1, 5)]
    for side in sides:
        inset = rng.uniform(0, 7 if len(sides) > 1 else 3)
        at = inset if side % 2 else 27 - inset
        # Half of the lines end near the corner that they make with another.
        low, high = (0.0, 27.0) if rng.random() < 0.5 else (rng.uniform(0, 7), rng.uniform(20, 27))
        run = np.array([[low, at], [high, at + rng.normal(0, 0.6)]])
        runs.append(run if side < 2 else run[:, ::-1])
    thick = pens.keep_thickness(np.array(runs, np.float32), rng.uniform(1, 4))
    return papers.coverage(np.array(runs, np.float32), 28, 28, thick) * np.float32(rng.uniform(100, 255))


def _place_on_circle(turns: Points, radius: Points | float) -> Points:
    """Points on circles of a radius about (0, 0)."""
    return np.stack([radius * np.sin(2 * np.pi * turns), -radius * np.cos(2 * np.pi * turns)], 1)


def _join(runs: list[Points], rng: Random) -> Segments:
    return unit(np.concatenate([np.stack([run[:-1], run[1:]], 1) for run in runs]), rng, by_hand=True)


def _write(segments: Segments, rng: Random) -> bytes:
    return ink.FAMILIES[DRAWN[rng.integers(len(DRAWN))]](segments, rng)


def _save(scene: Scene, rng: Random) -> bytes:
    image = Image.fromarray(papers.to_bytes(scene))
    return pens.to_png(image) if rng.random() < 0.6 else pens.to_jpeg(image, rng.integers(40, 95))


KINDS: Final[dict[str, Callable[[Random, Sequence[Path]], bytes]]] = {
    "letter": _letter,
    "scribble": lambda rng, _: _scribble(rng),
    "shape": lambda rng, _: _shape(rng),
    "several": lambda rng, _: _several(rng),
    "silhouette": lambda rng, _: _silhouette(rng),
    "texture": lambda rng, _: _texture(rng),
    "noise": lambda rng, _: _noise(rng),
    "empty": lambda rng, _: _empty(rng),
}
