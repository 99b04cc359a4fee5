"""The ground as a smooth surface through the pixels that most others agree with.

In: pixels, `float32[H, W, C]`. Out: the ground's colour under each. Ink, tables beside the page and specks have no
say. It does not know which side of the surface ink lies on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]  # [H, W]
Colours = NDArray[np.float32]  # [H, W, C]

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
