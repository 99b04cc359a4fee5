"""How far each pixel stands out from the ground it lies on: paper, board or canvas, under whatever light.

In: pixels, `float32[H, W, C]`, C 1 or 3. Out: a `Relief`: strength, noise and polarity. Colour counts: yellow on white
stands out in blue alone, and the strength is measured along the ink's own colour. It does not know what a digit is.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..geometry import depth
from .morphology import dilate_square, erode_square, smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Colours, Field, Mask

FINEST = (3 / 120, 7 / 120)  # of the picture's longer side: half the width of strokes of pens, and of felt pens
WIDEST = 17 / 120  # and of brushes
_UNEVEN = 0.03  # of the contrast: light that the surface did not follow, so that strokes alone are looked for
_WHOLE = 0.35  # of the power at the next scale: what stands out is no part of something wider
_OTHER = 8, 4  # times the power, for fine strokes and for wide: then the other polarity has strokes, and this one gaps
_QUANTISED = 1.0  # grey levels; no ground is known better
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Relief(NamedTuple):
    """Ink stands out upwards from a ground at 0."""

    strength: Field  # grey levels over the ground along the ink's colour
    noise: float  # deviation of the bare ground, grey levels
    light: bool  # whether the ink is lighter than the ground
    reach: float = 0.0  # share of the longer side: only what is narrower than twice this stands out; 0: everything

    def without(self, what: Mask) -> Relief:
        """The relief with ground where `what`, bool[H, W], is."""
        return self._replace(strength=np.where(what, np.float32(0), self.strength))


def relief(colours: Colours) -> Relief:
    """Fit the ground, find which way the ink differs from it, and measure every pixel that way.

    A surface is enough for canvases, scans and soft light. Where it leaves much of the ground unexplained (shadows with
    edges, sheets on tables), only what a pen may have drawn stands out, whatever it lies on.
    """
    seen = _along_ink(_smoothed(colours - fit_surface(colours)))
    if seen.noise <= max(_QUANTISED, _UNEVEN * level(seen.strength)):
        return seen
    return strokes(colours, (*FINEST, WIDEST)) or seen


def strokes(colours: Colours, reaches: tuple[float, ...]) -> Relief | None:
    """What is narrow enough to be a pen's strokes, at the first reach at which these are whole; None if at none.

    Strokes are finer than what they enclose and leave between them: the polarity that has more of the finest is ink's.
    """
    smoothed = _smoothed(colours)
    for (fine, wide), other in zip(pairwise(reaches), _OTHER, strict=False):
        dark, bright = (_power(_raised(smoothed, fine, light=light)) for light in (False, True))
        light = bright > dark
        ink = _raised(smoothed, wide, light=light)
        power = _power(ink)
        whole = max(dark, bright) > _WHOLE * power
        if whole and _power(_raised(smoothed, wide, light=not light)) < other * power:
            return Relief(ink, _noise(ink), light, wide)
    return None


def narrow(colours: Colours, reach: float, *, light: bool) -> Relief:
    """What is lighter, or darker, than what it lies on, and narrower than twice the reach."""
    strength = _raised(_smoothed(colours), reach, light=light)
    return Relief(strength, _noise(strength), light, reach)


def _raised(smoothed: Colours, reach: float, *, light: bool) -> Field:
    wipe = _opened if light else _closed
    pixels = max(1, round(reach * max(smoothed.shape[:2])))
    levels = [np.ascontiguousarray(smoothed[..., c]) for c in range(smoothed.shape[2])]
    apart = [level - wipe(level, pixels) for level in levels]
    # Less the middle: the ground that is left lies at the far end of its noise.
    centred = np.stack([level - np.median(level) for level in apart], 2)
    return np.asarray(centred @ _ink_direction(centred), np.float32)


def _power(strength: Field) -> float:
    """How much stands out, and how far; what lies at the border counts less."""
    raised = np.maximum(strength, 0)
    return float((raised * raised * raised * depth(*raised.shape).clip(0.02, 0.15)).sum())


def level(strength: Field) -> float:
    """How far ink stands out: the mean strength, weighted by its square, so that ink outweighs the bare ground."""
    raised = strength[strength > 0].astype(np.float64)
    return float((raised**3).sum() / (raised**2).sum()) if raised.size else 0.0


def _along_ink(apart: Colours) -> Relief:
    direction = _ink_direction(apart)  # [C]
    strength = apart @ direction
    light = float(direction @ _LUMA) > 0 if len(direction) == 3 else float(direction[0]) > 0
    return Relief(strength, _noise(strength), light)


def _ink_direction(apart: Colours) -> NDArray[np.float32]:
    """The unit vector along which the strongest pixels differ from the ground; what lies at the border counts less."""
    height, width, _ = apart.shape
    power = np.einsum("hwc,hwc->hw", apart, apart) * depth(height, width).clip(0.02, 0.15)
    total = np.einsum("hw,hwc->c", power, apart)
    return np.asarray(total / max(1e-6, float(np.linalg.norm(total))), np.float32)


def _noise(strength: Field) -> float:
    """The deviation of the ground's noise, by a low quantile of the distances from it: ink may cover half."""
    return max(3.14 * float(np.quantile(np.abs(strength), 0.25)), _QUANTISED)


def _smoothed(colours: Colours) -> Colours:
    return np.stack([smooth(np.ascontiguousarray(colours[..., c]), 1) for c in range(colours.shape[2])], 2)


def _opened(level: Field, reach: int) -> Field:
    return _inner(dilate_square(erode_square(_outer(level, reach), reach), reach), reach)


def _closed(level: Field, reach: int) -> Field:
    return _inner(erode_square(dilate_square(_outer(level, reach), reach), reach), reach)


def _outer(level: Field, reach: int) -> Field:
    """With a margin like the border: what reaches the border goes on there, and is as wide as it is long."""
    rows, columns = (np.arange(-2 * reach, count + 2 * reach) for count in level.shape)
    return level.take(rows, 0, mode="clip").take(columns, 1, mode="clip")


def _inner(level: Field, reach: int) -> Field:
    return level[2 * reach : -2 * reach, 2 * reach : -2 * reach]


_SAMPLES = 28  # a side of the grid of pixels that the surface is fitted to


def fit_surface(colours: Colours) -> Colours:
    """A quadratic surface through the pixels that most others agree with: float32[H, W, C].

    Iteratively reweighted least squares with Geman-McClure weights, from the median outwards, so that ink, tables
    beside the page and specks have no say.
    """
    height, width, _ = colours.shape
    rows = np.linspace(0, height - 1, min(height, _SAMPLES)).astype(np.intp)
    columns = np.linspace(0, width - 1, min(width, _SAMPLES)).astype(np.intp)
    values = colours[np.ix_(rows, columns)].reshape(-1, colours.shape[2])
    # Ink rarely lies on the border: its pixels count for more.
    say = np.where(_border(len(rows), len(columns)).ravel(), np.float32(3), np.float32(1))
    larger = _larger_class(values, say)
    middle = _median(values[larger], say[larger])
    far = np.abs(values - middle).sum(1)
    if np.count_nonzero(far) < 0.7 * len(far):  # a canvas: much of it has one and the same colour
        return np.broadcast_to(middle, colours.shape)
    basis = _basis(rows / height, columns / width)  # [P, 6]
    for terms in (1, 3, 3, 6, 6, 6):
        reach = max(6.0, 5 * float(np.quantile(far, 0.3)))
        weights = say / (1 + (far / reach) ** 2) ** 2
        used = basis[:, :terms]
        weighted = used * weights[:, None]
        # The tiny ridge keeps a nearly empty direction from blowing up.
        solved = np.linalg.solve(weighted.T @ used + 1e-3 * np.eye(terms, dtype=np.float32), weighted.T @ values)
        far = np.abs(values - used @ solved).sum(1)
    everywhere = _basis(np.arange(height) / height, np.arange(width) / width)
    return np.asarray((everywhere @ solved).reshape(colours.shape), np.float32)


def _basis(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float32]:
    """1, x, y, x², xy, y² of every grid point, about the middle: float32[Y · X, 6]."""
    down, across = (axis.ravel() for axis in np.meshgrid(y - 0.5, x - 0.5, indexing="ij"))
    return np.stack([np.ones_like(across), across, down, across**2, across * down, down**2], 1).astype(np.float32)


def _border(height: int, width: int) -> NDArray[np.bool_]:
    border = np.ones((height, width), np.bool_)
    border[1:-1, 1:-1] = False
    return border


def _larger_class(values: Colours, say: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of float32[P, C] are in the larger of two classes of lightness, split where Otsu's method does."""
    grey = values.mean(1)
    order = grey.argsort()
    sorted_grey, weight = grey[order].astype(np.float64), say[order].astype(np.float64)
    below, mass = weight.cumsum()[:-1], (weight * sorted_grey).cumsum()
    total = below[-1] + weight[-1]
    apart = (mass[-1] * below / total - mass[:-1]) ** 2 / (below * (total - below))
    dark = grey <= sorted_grey[int(apart.argmax())]
    return np.asarray(dark if 2 * float(say[dark].sum()) >= total else ~dark, np.bool_)


def _median(values: Colours, say: NDArray[np.float32]) -> Colours:
    """The weighted median of each column of float32[P, C]."""
    order = values.argsort(0)
    half = say[order].cumsum(0) >= say.sum() / 2  # bool[P, C]
    return np.take_along_axis(np.take_along_axis(values, order, 0), half.argmax(0)[None], 0)
