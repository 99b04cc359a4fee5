"""Subtract the background (paper, board or canvas, in any light), so that ink stands out.

In: pixels, `float32[H, W, C]`, C 1 or 3. Out: a `Foreground`: strength, noise and polarity. Colour counts: yellow on
white differs in blue alone, and strength is measured along the ink's own colour. It does not know what a digit is.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..geometry import border_distance
from .morphology import close_square, open_square, smooth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...arrays import Colours, Field, Mask

# Half the width of strokes of pens, felt pens and brushes, as shares of the picture's longer side.
PEN, FELT_PEN, BRUSH = 3 / 120, 7 / 120, 17 / 120
_UNEVEN = 0.03  # of the contrast; more noise is light that the surface did not follow: then strokes alone are extracted
_COMPLETE = 0.35  # of the power at the next width: strokes are not cut out of something wider
_OTHER = 8, 4  # times the power, at the width of felt pens and brushes: then ink has the other polarity
_QUANTISED = 1.0  # grey levels; noise is never estimated below this
_SAMPLES = 28  # a side of the grid of pixels that the surface is fitted to
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Foreground(NamedTuple):
    """A picture without its background, which is 0; ink is positive."""

    strength: Field  # grey levels above the background, along the ink's colour
    noise: float  # standard deviation of the background, grey levels
    light: bool  # whether ink is lighter than the background
    apart: Colours  # by how much each pixel differs from the background, grey levels
    reach: float = 0.0  # share of the longer side: only strokes narrower than twice this are included; 0: everything

    def without(self, mask: Mask) -> Foreground:
        """Put background where the mask, bool[H, W], is."""
        return self._replace(strength=np.where(mask, np.float32(0), self.strength))


def subtract_background(colours: Colours) -> Foreground:
    """Fit a surface to the background, find the direction in which ink differs, and measure every pixel along it.

    A surface is enough for canvases, scans and soft light. Where it leaves much unexplained (hard shadows, sheets on
    tables), strokes alone are extracted.
    """
    apart = _smooth_channels(colours - _fit_surface(colours))
    direction = _ink_direction(apart)  # [C]
    light = float(direction @ _LUMA) > 0 if len(direction) == 3 else float(direction[0]) > 0
    strength = apart @ direction
    found = Foreground(strength, _estimate_noise(strength), light, apart)
    if found.noise <= max(_QUANTISED, _UNEVEN * _contrast(strength)):
        return found
    return extract_strokes(colours) or found


def extract_strokes(colours: Colours) -> Foreground | None:
    """Extract what is narrow enough to be a pen's strokes, at the first width at which they are complete; else None.

    Strokes are finer than the areas between them, so ink has the polarity with more power at the width below.
    """
    smoothed = _smooth_channels(colours)
    for (fine, wide), other in zip(pairwise((PEN, FELT_PEN, BRUSH)), _OTHER, strict=True):
        dark, bright = (_power(_along_ink(_top_hat(smoothed, fine, light=light))) for light in (False, True))
        light = bright > dark
        apart = _top_hat(smoothed, wide, light=light)
        strength = _along_ink(apart)
        power = _power(strength)
        complete = max(dark, bright) > _COMPLETE * power
        if complete and _power(_along_ink(_top_hat(smoothed, wide, light=not light))) < other * power:
            return Foreground(strength, _estimate_noise(strength), light, apart, wide)
    return None


def extract_narrow(colours: Colours, reach: float, *, light: bool) -> Foreground:
    """Extract what is lighter (or darker) than its surroundings and narrower than twice `reach`."""
    apart = _top_hat(_smooth_channels(colours), reach, light=light)
    strength = _along_ink(apart)
    return Foreground(strength, _estimate_noise(strength), light, apart, reach)


def _top_hat(smoothed: Colours, reach: float, *, light: bool) -> Colours:
    """The difference from the morphological opening (or closing)."""
    filtered = open_square if light else close_square
    pixels = max(1, round(reach * max(smoothed.shape[:2])))
    channels = [np.ascontiguousarray(smoothed[..., c]) for c in range(smoothed.shape[2])]
    apart = [channel - filtered(channel, pixels) for channel in channels]
    # An opening takes the background's minimum, so that its noise is above 0: subtract its median.
    return np.stack([channel - np.median(channel) for channel in apart], 2)


def _along_ink(apart: Colours) -> Field:
    """The strength of every pixel along the ink's colour."""
    return np.asarray(apart @ _ink_direction(apart), np.float32)


def _power(strength: Field) -> float:
    """The sum of cubed strengths, in which pixels near the border count less."""
    ink = np.maximum(strength, 0)
    return float((ink * ink * ink * border_distance(*ink.shape).clip(0.02, 0.15)).sum())


def _contrast(strength: Field) -> float:
    """The mean strength, weighted by its square, so that ink outweighs the background."""
    ink = strength[strength > 0].astype(np.float64)
    return float((ink**3).sum() / (ink**2).sum()) if ink.size else 0.0


def _ink_direction(apart: Colours) -> NDArray[np.float32]:
    """The unit vector along which the strongest pixels differ, float32[C]; pixels near the border count less."""
    height, width, _ = apart.shape
    power = np.einsum("hwc,hwc->hw", apart, apart) * border_distance(height, width).clip(0.02, 0.15)
    total = np.einsum("hw,hwc->c", power, apart)
    return np.asarray(total / max(1e-6, float(np.linalg.norm(total))), np.float32)


def _estimate_noise(strength: Field) -> float:
    """The background's standard deviation, from a low quantile of distances from 0: ink may cover half the picture."""
    return max(3.14 * float(np.quantile(np.abs(strength), 0.25)), _QUANTISED)


def _smooth_channels(colours: Colours) -> Colours:
    return np.stack([smooth(np.ascontiguousarray(colours[..., c]), 1) for c in range(colours.shape[2])], 2)


def _fit_surface(colours: Colours) -> Colours:
    """Fit a quadratic surface to the pixels that most others agree with: float32[H, W, C].

    Iteratively reweighted least squares with Geman-McClure weights, which start from the median, so that ink, tables
    beside the page and specks have little influence.
    """
    height, width, _ = colours.shape
    rows = np.linspace(0, height - 1, min(height, _SAMPLES)).astype(np.intp)
    columns = np.linspace(0, width - 1, min(width, _SAMPLES)).astype(np.intp)
    values = colours[np.ix_(rows, columns)].reshape(-1, colours.shape[2])
    # Ink is rarely at the border: its pixels count three times.
    prior = np.where(_border(len(rows), len(columns)).ravel(), np.float32(3), np.float32(1))
    larger = _larger_class(values, prior)
    middle = _weighted_median(values[larger], prior[larger])
    residuals = np.abs(values - middle).sum(1)
    if np.count_nonzero(residuals) < 0.7 * len(residuals):  # a canvas: many pixels have one and the same colour
        return np.broadcast_to(middle, colours.shape)
    basis = _quadratic_basis(rows / height, columns / width)  # [P, 6]
    for terms in (1, 3, 3, 6, 6, 6):
        scale = max(6.0, 5 * float(np.quantile(residuals, 0.3)))
        weights = prior / (1 + (residuals / scale) ** 2) ** 2
        used = basis[:, :terms]
        weighted = used * weights[:, None]
        # The small ridge keeps directions with hardly any data from growing without bounds.
        solved = np.linalg.solve(weighted.T @ used + 1e-3 * np.eye(terms, dtype=np.float32), weighted.T @ values)
        residuals = np.abs(values - used @ solved).sum(1)
    everywhere = _quadratic_basis(np.arange(height) / height, np.arange(width) / width)
    return np.asarray((everywhere @ solved).reshape(colours.shape), np.float32)


def _quadratic_basis(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float32]:
    """1, x, y, x², xy, y² of every grid point, with the origin in the middle: float32[Y · X, 6]."""
    down, across = (axis.ravel() for axis in np.meshgrid(y - 0.5, x - 0.5, indexing="ij"))
    return np.stack([np.ones_like(across), across, down, across**2, across * down, down**2], 1).astype(np.float32)


def _border(height: int, width: int) -> Mask:
    border = np.ones((height, width), np.bool_)
    border[1:-1, 1:-1] = False
    return border


def _larger_class(values: Colours, prior: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of float32[P, C] belong to the larger of two classes of lightness, split by Otsu's method: bool[P]."""
    grey = values.mean(1)
    order = grey.argsort()
    sorted_grey, weight = grey[order].astype(np.float64), prior[order].astype(np.float64)
    below, mass = weight.cumsum()[:-1], (weight * sorted_grey).cumsum()
    total = below[-1] + weight[-1]
    between = (mass[-1] * below / total - mass[:-1]) ** 2 / (below * (total - below))  # variance between the classes
    dark = grey <= sorted_grey[int(between.argmax())]
    return np.asarray(dark if 2 * float(prior[dark].sum()) >= total else ~dark, np.bool_)


def _weighted_median(values: Colours, weights: NDArray[np.float32]) -> Colours:
    """The weighted median of each column of float32[P, C]."""
    order = values.argsort(0)
    half = weights[order].cumsum(0) >= weights.sum() / 2  # bool[P, C]
    return np.take_along_axis(np.take_along_axis(values, order, 0), half.argmax(0)[None], 0)
