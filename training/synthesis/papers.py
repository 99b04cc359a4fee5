"""Scenes: paper, ruled lines, dirt, light and camera.

A scene is float32[H,W,3], 0 black to 1 white. Random choices come from the generator that a function is given, so the
same generator gives the same scene.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from .strokes import Segments

Scene = NDArray[np.float32]  # [H, W, 3]
Field = NDArray[np.float32]  # [H, W]
Colour = tuple[float, float, float]


def make_noise(height: int, width: int, cells: float, rng: np.random.Generator) -> Field:
    """Return smooth noise of about unit strength, with `cells` bumps along the longer side."""
    step = max(height, width) / cells
    coarse = rng.normal(0, 1, (max(2, round(height / step) + 1), max(2, round(width / step) + 1))).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def fill(height: int, width: int, colour: Colour) -> Scene:
    """Return a scene of one colour, as on a screen."""
    return np.broadcast_to(np.array(colour, np.float32), (height, width, 3))


def make_sheet(height: int, width: int, colour: Colour, roughness: float, rng: np.random.Generator) -> Scene:
    """Return paper or board, mottled and grainy; `roughness` is the standard deviation of the grain."""
    grain = rng.normal(0, 1, (height, width)).astype(np.float32)
    fibres = make_noise(height, width, max(height, width) / rng.uniform(2, 5), rng)
    texture = roughness * (0.5 * grain + 0.7 * fibres + 0.5 * make_noise(height, width, 6, rng))
    return np.asarray(np.array(colour, np.float32) + texture[..., None], np.float32)


def coverage(segments: Segments, height: int, width: int, thickness: Field) -> Field:
    """Return how far a round pen covers each pixel, 0..1; `segments` and `thickness` float32[N] are in pixels."""
    covered = np.zeros((height, width), np.float32)
    for (a, b), thick in zip(segments, thickness, strict=True):
        reach = thick / 2 + 1.5
        left, top = np.maximum(np.floor(np.minimum(a, b) - reach), 0).astype(int)
        right, bottom = np.ceil(np.maximum(a, b) + reach).astype(int) + 1
        window = covered[top:bottom, left:right]
        if not window.size:
            continue
        x = np.arange(left, left + window.shape[1], dtype=np.float32)[None, :] - a[0]
        y = np.arange(top, top + window.shape[0], dtype=np.float32)[:, None] - a[1]
        along = b - a
        t = np.clip((x * along[0] + y * along[1]) / max(1e-6, float(along @ along)), 0, 1)
        distance = np.hypot(x - t * along[0], y - t * along[1])
        # A pen thinner than a pixel covers a part of the pixel.
        np.maximum(window, np.clip(thick / 2 + 0.5 - distance, 0, min(1.0, float(thick))), out=window)
    return covered


def apply_ink(scene: Scene, cover: Field, colour: Colour) -> Scene:
    """Return the scene with ink of this colour where `cover` is 1, unchanged where it is 0."""
    return np.asarray(scene + cover[..., None] * (np.array(colour, np.float32) - scene), np.float32)


def rule(
    scene: Scene, spacing: float, colour: Colour, strength: float, *, both: bool, rng: np.random.Generator
) -> Scene:
    """Rule the paper, or square it if `both`: lines `spacing` pixels apart, at a random offset, a little slanted."""
    height, width = scene.shape[:2]
    reach = float(height + width)
    tilt = rng.normal(0, 0.01)
    runs = []
    for count, flip in ((height, False), (width, True)) if both else ((height, False),):
        for at in np.arange(rng.uniform(0, spacing), count, spacing):
            run = np.array([[-5.0, at], [reach, at + tilt * reach]])
            runs.append(run[:, ::-1] * [1, 1] if flip else run)
    if not runs:
        return scene
    thick = np.full(len(runs), max(0.7, spacing * rng.uniform(0.015, 0.04)), np.float32)
    return apply_ink(scene, coverage(np.array(runs, np.float32), height, width, thick) * strength, colour)


def draw_frame(scene: Scene, inset: float, thick: float, colour: Colour, rng: np.random.Generator) -> Scene:
    """Draw the borders of a form's or a puzzle's cell, along some of the sides, partly cut off."""
    height, width = scene.shape[:2]
    runs = []
    for side in range(4):
        if rng.random() < 0.35:
            continue
        at, tilt = rng.uniform(-0.3, 1) * inset, rng.normal(0, 0.012)
        far = (height if side < 2 else width) - 1
        at = at if side % 2 == 0 else far - at
        run = np.array([[-5.0, at], [width + 5.0, at + tilt * width]])
        runs.append(run if side < 2 else run[:, ::-1])
    if not runs:
        return scene
    cover = coverage(np.array(runs, np.float32), height, width, np.full(len(runs), thick, np.float32))
    return apply_ink(scene, cover * rng.uniform(0.7, 1), colour)


def add_rules_beside(
    scene: Scene, digit: Field, choose_colour: Callable[[], Colour], rng: np.random.Generator
) -> Scene:
    """Draw one to three rules of a form or a table that touch, cross or nearly touch a digit's coverage.

    Some run from border to border; others end near the digit, so that two of them make an L or a T.
    """
    height, width = digit.shape
    rows, columns = np.flatnonzero(digit.max(1) > 0.3), np.flatnonzero(digit.max(0) > 0.3)
    if not (rows.size and columns.size):
        return scene
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    size = max(bottom - top, right - left)
    runs = []
    for side in rng.permutation(4)[: rng.integers(1, 4)]:
        away = size * rng.uniform(-0.1, 0.25)
        at = (top - away, bottom + away, left - away, right + away)[side]
        low, high = (left, right) if side < 2 else (top, bottom)
        start = -5.0 if rng.random() < 0.7 else low - size * rng.uniform(-0.1, 0.5)
        end = float(max(scene.shape)) if rng.random() < 0.7 else high + size * rng.uniform(-0.1, 0.5)
        run = np.array([[start, at], [end, at + rng.normal(0, 0.015) * (end - start)]])
        runs.append(run if side < 2 else run[:, ::-1])
    thick, strength = max(0.8, size * rng.uniform(0.012, 0.08)), rng.uniform(0.4, 1)
    same, colour = rng.random() < 0.8, choose_colour()
    for run in runs:
        cover = coverage(np.array([run], np.float32), height, width, np.array([thick], np.float32))
        scene = apply_ink(scene, cover * strength, colour if same else choose_colour())
    return scene


def add_dirt(scene: Scene, rng: np.random.Generator) -> Scene:
    """Add specks, and sometimes a smudge as of a rubber or a thumb."""
    height, width = scene.shape[:2]
    side = min(height, width)
    specks = rng.integers(0, 9)
    at = rng.uniform(0, 1, (specks, 1, 2)) * [width, height]
    spots = np.repeat(at, 2, 1) + rng.normal(0, side * 0.004, (specks, 2, 2))
    sizes = rng.uniform(0.5, max(1.0, side * 0.018), specks).astype(np.float32)
    scene = apply_ink(
        scene, coverage(spots.astype(np.float32), height, width, sizes) * rng.uniform(0.3, 1), (0.2, 0.2, 0.2)
    )
    if rng.random() < 0.35:
        blot = np.clip(make_noise(height, width, rng.uniform(2, 5), rng) - 1.0, 0, 1) * rng.uniform(0.05, 0.3)
        scene = apply_ink(
            scene, blot * (0.6 + 0.4 * rng.random((height, width))).astype(np.float32), (0.35, 0.33, 0.32)
        )
    return scene


def add_light(scene: Scene, rng: np.random.Generator) -> Scene:
    """Light the scene from one side, with a dim corner and often the shadow of a hand or a phone."""
    height, width = scene.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * math.pi)
    lit = 1 + rng.uniform(0, 0.3) * (x * math.cos(angle) + y * math.sin(angle)) - rng.uniform(0, 0.12) * (x**2 + y**2)
    if rng.random() < 0.5:
        angle, at, soft = rng.uniform(0, 2 * math.pi), rng.uniform(-0.8, 0.8), rng.uniform(0.03, 0.8)
        edge = (x * math.cos(angle) + y * math.sin(angle) + 0.15 * make_noise(height, width, 3, rng) - at) / soft
        lit = lit * (1 - rng.uniform(0.1, 0.5) / (1 + np.exp(-np.clip(4 * edge, -30, 30))))
    cast = 1 + rng.normal(0, 0.05, 3)
    return np.asarray(scene * lit[..., None] * cast * rng.uniform(0.65, 1.05), np.float32)


def tilt(scene: Scene, ground: Colour, strength: float, rng: np.random.Generator) -> Scene:
    """View the sheet at an angle: its corners move by up to `strength` of its sides; `ground` is around it."""
    height, width = scene.shape[:2]
    corners = np.array([[0, 0], [0, height], [width, height], [width, 0]], float)
    corners += rng.uniform(-strength, strength, (4, 2)) * [width, height]
    image = Image.fromarray(to_bytes(scene))
    fill = tuple(to_bytes(np.array(ground, np.float32)).tolist())
    moved = image.transform(
        image.size, Image.Transform.QUAD, corners.ravel().tolist(), Image.Resampling.BICUBIC, fillcolor=fill
    )
    return np.asarray(np.asarray(moved, np.float32) / 255, np.float32)


def photograph(scene: Scene, blur: float, noise: float, rng: np.random.Generator) -> Scene:
    """Blur by `blur` pixels as a lens does, and add sensor noise of this standard deviation, half of it per colour."""
    image = Image.fromarray(to_bytes(scene)).filter(ImageFilter.GaussianBlur(blur))
    height, width = scene.shape[:2]
    grain = rng.normal(0, noise, (height, width, 1)) + rng.normal(0, noise / 2, (height, width, 3))
    return np.asarray(np.asarray(image, np.float32) / 255 + grain, np.float32)


def to_bytes(scene: Scene) -> NDArray[np.uint8]:
    """Return the scene as uint8 of the same shape."""
    return (np.clip(scene, 0, 1) * 255).round().astype(np.uint8)
