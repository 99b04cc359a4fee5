"""The population stability index of counts, against the mixture of known sources that fits them best.

In: counts of one signal, int[parts, bins], and each source's shares, float[sources, parts, bins]; the shares of each
part are 1 together. Out: the mixture's shares, or the index. It knows no signal and no metric.

The index is the sum of (p - q) · ln(p / q) over all bins, with p observed and q expected (Siddiqi 2006, Credit Risk
Scorecards), which is Jeffreys' divergence (1946). Without drift, n observations give about (bins - 1) / n (Yurdakul and
Naranjo 2020, Statistical Properties of the Population Stability Index). By convention 0.1 is worth a look, and 0.25 is
a drift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Shares = NDArray[np.float64]

STEPS = 20  # of expectation and maximisation: more lower the index by 0.02 at most
# The expected shares are mixed into those observed, as if every fifth picture were as expected. A pseudo-count of that
# size keeps an empty bin from exploding: it adds 1.3 times its expected share, whatever the number of pictures.
EXPECTED_SHARE = 0.2
PSEUDO_COUNT = 0.5  # in each bin of a source (Jeffreys' prior): no bin is impossible


def shares(counts: Counts) -> Shares:
    """Return the shares of a source with these counts, int[..., parts, bins]."""
    smooth = np.asarray(counts, np.float64) + PSEUDO_COUNT
    return smooth / smooth.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def fit_mixture(counts: Counts, sources: Shares) -> Shares:
    """Return the shares of the most likely mixture of the sources, float[parts, bins], by EM (Dempster et al. 1977)."""
    each = sources.reshape(len(sources), -1)
    observed = counts.ravel() / counts.sum()
    weights = np.full(len(each), 1 / len(each))
    for _ in range(STEPS):
        weights *= each @ (observed / (weights @ each))
    return (weights @ each).reshape(counts.shape)


def stability_index(counts: Counts, expected: Shares) -> float:
    """Return the index of counts against expected shares; several parts add up, as for independent signals."""
    observed = (1 - EXPECTED_SHARE) * counts / counts.sum(-1, keepdims=True) + EXPECTED_SHARE * expected
    return float(((observed - expected) * np.log(observed / expected)).sum())
