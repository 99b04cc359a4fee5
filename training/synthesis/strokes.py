"""Digits as strokes: segments that any pen can follow, in a style of writing or along an MNIST digit's skeleton.

In: a label and a random generator, or an MNIST digit. Out: `Segments`, float32[N,2,2] of (x, y) ends; the digit's
longer side is 1, its box is centred on (0, 0), and y points down.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .styles import HELD_OUT, STYLES, write

Segments = NDArray[np.float32]
Points = NDArray[np.float64]
_SCALE = 4  # the skeleton is that of 112 x 112 pixels, where a stroke is about ten pixels wide


_KNOTS: Final = 48  # points of a path that is mixed with another
_ALIKE: Final = 0.14  # mean distance of two paths, in a digit's height, up to which a hand may write between them


def draw(label: int, rng: np.random.Generator, *, held_out: bool = False) -> Segments:
    """Draw the digit as a hand does, in one of its styles or between two; `held_out` ones never train a network."""
    styles = [style for style in STYLES[label] if (style == HELD_OUT[label]) is held_out]
    paths = _follow(label, styles[rng.integers(len(styles))], rng)
    if rng.random() < 0.4:
        paths = _mix(paths, _follow(label, styles[rng.integers(len(styles))], rng), rng.uniform(0.2, 0.8))
    segments = np.concatenate([np.stack([path[:-1], path[1:]], 1) for path in paths])
    return unit(_deform(segments, rng), rng, by_hand=True)


def _follow(label: int, style: str, rng: np.random.Generator) -> list[Points]:
    """Return the paths of a pen that writes in a style."""
    strokes = write(label, style, rng)
    return [_move(np.array(stroke), rng, joined=number > 0) for number, stroke in enumerate(strokes)]


def _move(stroke: Points, rng: np.random.Generator, *, joined: bool) -> Points:
    """Return the path along a stroke float64[P,2]: the pen misses points, corners and ends a little, and trembles."""
    places, number = np.unique(stroke, axis=0, return_inverse=True)  # both copies of a corner stay together
    missed = places + rng.normal(0, rng.uniform(0.006, 0.024), places.shape)
    path = curve(missed[number.ravel()] + (rng.normal(0, 0.022, 2) if joined else 0.0))
    for end, inside in ((0, 2), (-1, -3)):
        if len(path) > 3:
            along = path[end] - path[inside]
            path[end] += along / max(1e-6, float(np.hypot(*along))) * rng.normal(0.01, 0.03)
    if rng.random() < 0.3:
        knots = np.linspace(0, 1, max(3, len(path) // 4))
        at, strength = np.linspace(0, 1, len(path)), rng.uniform(0.005, 0.025)
        path += np.stack([np.interp(at, knots, rng.normal(0, strength, len(knots))) for _ in range(2)], 1)
    return path


def _mix(paths: list[Points], others: list[Points], share: float) -> list[Points]:
    """Return paths between two styles, or the first ones where the pens go different ways."""
    if len(paths) != len(others):
        return paths
    pairs = [(_resample(path), _resample(other)) for path, other in zip(paths, others, strict=True)]
    if max(float(np.hypot(*(one - other).T).mean()) for one, other in pairs) > _ALIKE:
        return paths
    return [one + share * (other - one) for one, other in pairs]


def _resample(path: Points) -> Points:
    """Return points at even distances along a path, float64[_KNOTS,2]."""
    length = np.concatenate([[0.0], np.hypot(*np.diff(path, axis=0).T).cumsum()])
    at = np.linspace(0, length[-1], _KNOTS)
    return np.stack([np.interp(at, length, path[:, axis]) for axis in range(2)], 1)


def _deform(segments: Points, rng: np.random.Generator) -> Points:
    """Change the proportions of a digit, above to below and left to right, and bend it as a whole, smoothly."""
    low, high = segments.min((0, 1)), segments.max((0, 1))
    share = (segments - low) / np.maximum(high - low, 1e-6)
    segments = segments + np.clip(rng.normal(0, 0.2, 2), -0.5, 0.5) * share * (1 - share) * (high - low)
    x, y = segments[..., 0], segments[..., 1]
    (right, down), (often, seldom), (first, second) = rng.normal(0, 0.03, 2), rng.uniform(0.3, 0.9, 2), rng.random(2)
    wave = np.sin(2 * math.pi * (often * y + first)), np.sin(2 * math.pi * (seldom * x + second))
    return np.stack([x + right * wave[0], y + down * wave[1]], -1)


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
    slim_or_wide = by_hand and rng.random() < 0.2
    stretch = math.exp(np.clip(rng.normal(0, 0.32 if slim_or_wide else 0.15), -0.5, 0.5) * force)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    moved = segments @ (matrix @ np.array([[stretch, -slant], [0, 1]])).T
    low, high = moved.min((0, 1)), moved.max((0, 1))
    return np.asarray((moved - (low + high) / 2) / max(1e-6, float((high - low).max())), np.float32)


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
