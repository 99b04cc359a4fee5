"""Digits as strokes: segments that any pen can follow, from our own shapes or from an MNIST digit's skeleton.

In: a label and a random generator, or an MNIST digit. Out: `Segments`, float32[N,2,2] of (x, y) ends; the digit's
longer side is 1, its box is centred on (0, 0), and y points down.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Segments = NDArray[np.float32]
Points = NDArray[np.float64]
_SCALE = 4  # the skeleton is that of 112 x 112 pixels, where a stroke is about ten pixels wide


def _ring(
    middle: tuple[float, float], radii: tuple[float, float], start: float, turn: float
) -> list[tuple[float, float]]:
    """Return points along an ellipse from the angle `start`, clockwise from three o'clock, over `turn` degrees."""
    angles = np.radians(np.linspace(start, start + turn, max(4, int(abs(turn) // 35))))
    return [(middle[0] + radii[0] * math.cos(a), middle[1] + radii[1] * math.sin(a)) for a in angles]


# The ways people write each digit: strokes of points in a box 0.6 wide and 1 high, y downwards. A curve runs through
# the points; a repeated point is a corner.
SHAPES: dict[int, list[list[list[tuple[float, float]]]]] = {
    0: [
        [_ring((0.3, 0.5), (0.3, 0.5), -90, -365)],
        [_ring((0.3, 0.5), (0.24, 0.5), -70, -350)],
        [_ring((0.3, 0.5), (0.3, 0.5), -90, -360), [(0.5, 0.12), (0.12, 0.9)]],
    ],
    1: [
        [[(0.3, 0), (0.3, 1)]],
        [[(0.12, 0.28), (0.35, 0), (0.35, 0), (0.35, 1)]],
        [[(0.05, 0.42), (0.4, 0), (0.4, 0), (0.38, 1)]],
        [[(0.0, 0.55), (0.45, 0), (0.45, 0), (0.4, 1)]],
        [[(0.12, 0.25), (0.32, 0), (0.32, 0), (0.32, 1)], [(0.05, 1), (0.6, 1)]],
    ],
    2: [
        [[(0.04, 0.25), (0.25, 0), (0.52, 0.15), (0.48, 0.45), (0.03, 0.98), (0.03, 0.98), (0.6, 0.97)]],
        [[(0.04, 0.2), (0.3, 0), (0.55, 0.2), (0.4, 0.6), (0.12, 0.95), (0.02, 0.85), (0.15, 0.78), (0.6, 0.98)]],
        [[(0.03, 0.05), (0.55, 0.03), (0.55, 0.03), (0.04, 0.97), (0.04, 0.97), (0.6, 0.95)]],
    ],
    3: [
        [[(0.05, 0.15), (0.3, 0), (0.55, 0.2), (0.25, 0.46), (0.25, 0.46), (0.58, 0.7), (0.32, 1), (0.02, 0.87)]],
        [[(0.05, 0.02), (0.55, 0.02), (0.55, 0.02), (0.25, 0.42), (0.25, 0.42), (0.58, 0.7), (0.3, 1), (0.02, 0.9)]],
        [[(0.1, 0.08), (0.4, 0.02), (0.5, 0.25), (0.28, 0.45), (0.5, 0.55), (0.55, 0.8), (0.25, 1), (0.02, 0.88)]],
    ],
    4: [
        [[(0.12, 0), (0.03, 0.55), (0.03, 0.55), (0.6, 0.55)], [(0.45, 0.1), (0.42, 1)]],
        [[(0.45, 1), (0.45, 0), (0.45, 0), (0.02, 0.66), (0.02, 0.66), (0.62, 0.66)]],
        [[(0.38, 0), (0.02, 0.62), (0.02, 0.62), (0.6, 0.6)], [(0.42, 0.35), (0.38, 1)]],
    ],
    5: [
        [[(0.12, 0.02), (0.08, 0.45), (0.08, 0.45), (0.4, 0.4), (0.56, 0.68), (0.35, 0.98), (0.03, 0.92)],
         [(0.12, 0.02), (0.56, 0)]],
        [[(0.1, 0.06), (0.06, 0.45), (0.06, 0.45), (0.42, 0.42), (0.55, 0.7), (0.3, 1), (0.02, 0.9)],
         [(0.2, 0.0), (0.6, -0.02)]],
        [[(0.55, 0), (0.12, 0.02), (0.12, 0.02), (0.08, 0.44), (0.4, 0.4), (0.57, 0.7), (0.3, 1), (0.02, 0.92)]],
    ],
    6: [
        [[(0.45, 0), (0.12, 0.35), (0.03, 0.75), (0.3, 1), (0.55, 0.76), (0.34, 0.54), (0.06, 0.72)]],
        [[(0.3, 0), (0.08, 0.45), (0.06, 0.8), (0.3, 1), (0.55, 0.78), (0.35, 0.58), (0.1, 0.68)]],
        [[(0.52, 0.08), (0.3, 0), (0.06, 0.4), (0.06, 0.8), (0.32, 1), (0.56, 0.75), (0.3, 0.5), (0.06, 0.68)]],
    ],
    7: [
        [[(0.03, 0.03), (0.58, 0.02), (0.58, 0.02), (0.22, 1)]],
        [[(0.03, 0.03), (0.58, 0.02), (0.58, 0.02), (0.2, 1)], [(0.12, 0.5), (0.58, 0.48)]],
        [[(0.05, 0.16), (0.06, 0), (0.06, 0), (0.58, 0.02), (0.58, 0.02), (0.35, 0.5), (0.28, 1)]],
        [[(0.02, 0.1), (0.2, 0.02), (0.58, 0.04), (0.58, 0.04), (0.28, 1)], [(0.1, 0.55), (0.55, 0.5)]],
    ],
    8: [
        [[(0.5, 0.12), (0.25, 0), (0.08, 0.2), (0.3, 0.47), (0.56, 0.75), (0.3, 1), (0.04, 0.77), (0.3, 0.47),
          (0.54, 0.22), (0.45, 0.06)]],
        [_ring((0.3, 0.24), (0.22, 0.24), 90, 360), _ring((0.3, 0.74), (0.28, 0.27), -90, 360)],
    ],
    9: [
        [_ring((0.27, 0.27), (0.25, 0.27), -20, -345), [(0.52, 0.1), (0.5, 1)]],
        [[(0.52, 0.2), (0.28, 0), (0.04, 0.25), (0.25, 0.5), (0.52, 0.25), (0.55, 0.3), (0.5, 0.75), (0.28, 1),
          (0.06, 0.92)]],
        [_ring((0.28, 0.28), (0.26, 0.28), -10, -350), [(0.54, 0.2), (0.5, 0.6), (0.3, 1)]],
    ],
}  # fmt: skip


def draw(label: int, rng: np.random.Generator) -> Segments:
    """Draw the digit in one of its shapes, with the jitter of a hand."""
    shapes = SHAPES[label]
    shape = shapes[rng.integers(len(shapes))]
    runs = [curve(np.array(stroke) + rng.normal(0, 0.02, (len(stroke), 2)) * _keep_corners(stroke)) for stroke in shape]
    return unit(np.concatenate([np.stack([run[:-1], run[1:]], 1) for run in runs]), rng, by_hand=True)


def trace(digit: NDArray[np.uint8], rng: np.random.Generator) -> Segments:
    """Return the skeleton of an MNIST digit, uint8[28,28], with a little additional slant and stretch."""
    big = Image.fromarray(digit).resize((28 * _SCALE, 28 * _SCALE), Image.Resampling.BICUBIC)
    bone = _skeleton(np.asarray(big) > 110)
    index = np.full(bone.shape, -1)
    index[bone] = np.arange(bone.sum())
    points = np.argwhere(bone)[:, ::-1].astype(np.float64)  # float64[P, 2] of (x, y)
    pairs = np.concatenate([_neighbours(index, down, across) for down, across in ((0, 1), (1, 0), (1, 1), (1, -1))])
    if not len(pairs):  # a dot
        return np.zeros((1, 2, 2), np.float32)
    return unit(_smooth(points, pairs)[pairs], rng, by_hand=False)


def unit(segments: Points, rng: np.random.Generator, *, by_hand: bool) -> Segments:
    """Slant, turn and stretch as a hand does, then scale to a longer side of 1 about the middle of the box."""
    force = 1.0 if by_hand else 0.4
    slant, turn = rng.normal(0.05, 0.12) * force, rng.normal(0, 0.06) * force
    stretch = math.exp(rng.normal(0, 0.15) * force)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    moved = segments @ (matrix @ np.array([[stretch, -slant], [0, 1]])).T
    low, high = moved.min((0, 1)), moved.max((0, 1))
    return np.asarray((moved - (low + high) / 2) / max(1e-6, float((high - low).max())), np.float32)


def _keep_corners(stroke: list[tuple[float, float]]) -> Points:
    """Return weights of the jitter, 0 for repeated points, so that both copies of a corner stay together."""
    return np.array([[0.0 if stroke.count(point) > 1 else 1.0] for point in stroke])


def curve(points: Points) -> Points:
    """Return a Catmull-Rom curve through the points, float64[P,2], with corners at repeated points."""
    corners = [i for i in range(1, len(points)) if np.array_equal(points[i], points[i - 1])]
    parts = np.split(points, corners)
    return np.concatenate([_spline(part) for part in parts if len(part) > 1])


def _spline(points: Points) -> Points:
    if len(points) == 2:
        return points
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, 8, endpoint=False)[:, None]
    runs = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate([*runs, points[-1:]])


def _neighbours(index: NDArray[np.int64], down: int, across: int) -> NDArray[np.int64]:
    """Return pairs of numbered pixels that are `down` and `across` apart: int64[K,2]."""
    height, width = index.shape
    here = index[: height - down, max(0, -across) : width - max(0, across)]
    there = index[down:, max(0, across) : width + min(0, across)]
    both = (here >= 0) & (there >= 0)
    return np.stack([here[both], there[both]], 1)


def _smooth(points: Points, pairs: NDArray[np.int64]) -> Points:
    """Smooth stairs of pixels: each point moves to the mean of itself and its neighbours, five times."""
    count = 1.0 + np.bincount(pairs.ravel(), minlength=len(points))[:, None]
    for _ in range(5):
        total = points.copy()
        np.add.at(total, pairs[:, 0], points[pairs[:, 1]])
        np.add.at(total, pairs[:, 1], points[pairs[:, 0]])
        points = total / count
    return points


def _skeleton(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Thin a mask to its skeleton (Zhang and Suen, "A fast parallel algorithm for thinning …", CACM 27, 1984)."""
    bone = np.pad(mask, 1)
    while True:
        before = np.count_nonzero(bone)
        for odd in (False, True):
            around = [np.roll(bone, shift, (0, 1)) for shift in _AROUND]
            north, _, east, _, south, _, west, _ = around
            total = sum(a.astype(np.int8) for a in around)
            rises = sum((~a & b).astype(np.int8) for a, b in zip(around, around[1:] + around[:1], strict=True))
            first, second = (west, north) if odd else (south, east)
            ends = ~(north & east & first) & ~(second & south & west)
            bone &= ~((total >= 2) & (total <= 6) & (rises == 1) & ends)
        if np.count_nonzero(bone) == before:
            return bone[1:-1, 1:-1]


# Shifts that bring the neighbour north, north-east, … north-west of each pixel onto it.
_AROUND = [(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)]
