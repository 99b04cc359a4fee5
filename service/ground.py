"""How far each pixel stands out from the ground it lies on: paper, board or canvas, under whatever light.

In: pixels, `float32[H, W, C]`, C 1 or 3. Out: a `Relief`: strength, noise and polarity. Colour counts: yellow on white
stands out in blue alone, and the strength is measured along the ink's own colour. It does not know what a digit is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from service.morphology import dilate_square, erode_square, smooth
from service.surface import Colours, Field, fit_surface

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNEVEN = 0.03  # of the contrast: light that the surface did not follow, so the ground is taken locally
_WORSE = 1.5  # times the roughness: the local ground was a mistake
_QUANTISED = 1.0  # grey levels; no ground is known better
_INSIDE = 0.1  # of the shorter side: nearer to the border lie page edges and neighbours
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Relief(NamedTuple):
    """Ink stands out upwards from a ground at 0."""

    strength: Field  # grey levels over the ground along the ink's colour
    noise: float  # deviation of the bare ground, grey levels
    light: bool  # whether the ink is lighter than the ground


def relief(colours: Colours) -> Relief:
    """Fit the ground, find which way the ink differs from it, and measure every pixel that way.

    A surface is enough for canvases, scans and soft light. Where it leaves much of the ground unexplained (shadows with
    edges, tables beside the page), the ground is taken locally.
    """
    surface = fit_surface(colours)
    apart = colours - surface
    seen = _along_ink(apart)
    if seen.noise <= max(_QUANTISED, _UNEVEN * level(seen.strength)):
        return seen
    near = _along_ink(_centred(colours - _local(colours, light=_light_tail(colours, surface))))
    # Where ink covers half of the picture, there is no ground nearby to take: then the surface was right.
    return seen if _roughness(near) > _WORSE * _roughness(seen) else near


def _roughness(one: Relief) -> float:
    """The ground's noise as a share of the ink's contrast."""
    return one.noise / max(1.0, level(one.strength))


def level(strength: Field) -> float:
    """How far ink stands out: the mean strength, weighted by its square, so that ink outweighs the bare ground."""
    raised = strength[strength > 0].astype(np.float64)
    return float((raised**3).sum() / (raised**2).sum()) if raised.size else 0.0


def _along_ink(apart: Colours) -> Relief:
    direction = _ink_direction(apart)  # [C]
    strength = smooth(apart @ direction, 1)
    light = float(direction @ _LUMA) > 0 if len(direction) == 3 else float(direction[0]) > 0
    return Relief(strength, max(_spread(strength), _QUANTISED), light)


def _ink_direction(apart: Colours) -> NDArray[np.float32]:
    """The unit vector along which the strongest pixels differ from the ground; what lies at the border counts less."""
    height, width, _ = apart.shape
    power = np.einsum("hwc,hwc->hw", apart, apart) * depth(height, width).clip(0.02, 0.15)
    total = np.einsum("hw,hwc->c", power, apart)
    return np.asarray(total / max(1e-6, float(np.linalg.norm(total))), np.float32)


@lru_cache(maxsize=64)
def depth(height: int, width: int) -> Field:
    """How far inside each pixel lies, as a share of the shorter side: 0 at the border, 0.5 in the middle."""
    down = np.minimum(np.arange(height), np.arange(height)[::-1])
    across = np.minimum(np.arange(width), np.arange(width)[::-1])
    inside = (np.minimum(down[:, None], across[None, :]) / min(height, width)).astype(np.float32)
    inside.flags.writeable = False  # shared by all who ask
    return inside


def _spread(strength: Field) -> float:
    """The deviation of the ground's noise, by a low quantile of the distances from it: ink may cover half."""
    return 3.14 * float(np.quantile(np.abs(strength), 0.25))


def _light_tail(colours: Colours, surface: Colours) -> bool:
    """Whether the ink is lighter than its ground, under uneven light.

    Ink is the minority and so the long tail, both against the surface (which thick strokes are sure to be) and against
    the mean around it (where the two sides of a shadow's edge stand out alike): the clearer of the two decides.
    """
    luma, ground = _luma(colours), _luma(surface)
    inside = depth(*luma.shape) > _INSIDE
    around = smooth(luma, max(1, min(luma.shape) // 12))
    tails = [_skew((luma - other)[inside]) for other in (ground, around)]
    return max(tails, key=abs) > 0


def _luma(colours: Colours) -> Field:
    return np.asarray(colours @ _LUMA if colours.shape[2] == 3 else colours[..., 0], np.float32)


def _skew(values: NDArray[np.float32]) -> float:
    wide = values.astype(np.float64)
    return float((wide**3).sum() / max(1e-9, float((wide**2).sum()) ** 1.5))


def _local(colours: Colours, *, light: bool) -> Colours:
    """The ground around each pixel: what remains when all ink narrower than a third of the picture is wiped away."""
    reach = max(1, min(colours.shape[:2]) // 6)
    wipe = _opened if light else _closed
    levels = [smooth(np.ascontiguousarray(colours[..., c]), 1) for c in range(colours.shape[2])]
    return np.stack([smooth(wipe(level, reach), 1) for level in levels], 2)


def _centred(apart: Colours) -> Colours:
    """Less the middle: the local ground lies at the far end of its noise."""
    return np.asarray(apart - np.median(apart, (0, 1)), np.float32)


def _opened(level: Field, reach: int) -> Field:
    return dilate_square(erode_square(level, reach), reach)


def _closed(level: Field, reach: int) -> Field:
    return erode_square(dilate_square(level, reach), reach)
