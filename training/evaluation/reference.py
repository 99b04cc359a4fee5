"""The reference of a version: how its answers are spread on known pictures, for the service to measure drift against.

In: a model, MNIST's validation digits, and held-out rendered digits with their facts. Out: the value of the card's key
`reference`. Pictures are counted as the service counts those that it answers: MNIST as a client sends it, through the
service's picture preparation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ..service_picture import BINS, NO_INK, prepare, warnings_for
from ..synthesis.rendered import Facts
from .onnx_runtime import run_onnx

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .. import data

MNIST: Final = "mnist"  # the name of this source; the others have the names of the families


def describe_reference(
    model: bytes, validation: data.Digits, held_out: data.Digits, facts: Sequence[Facts]
) -> dict[str, Any]:
    """Return the bins of each signal, and their counts by source; `facts` are those of the held-out digits."""
    as_sent = [prepare(pixels) for pixels in validation.images.numpy()[:, 0]]
    every = [
        Facts(label, MNIST, image.polarity, image.ink_ratio, image.warnings)
        for label, image in zip(validation.labels.tolist(), as_sent, strict=True)
    ]
    every += facts
    images = torch.from_numpy(np.stack([image.pixels for image in as_sent])[:, None])
    probabilities = run_onnx(model, torch.cat([images, held_out.images])).numpy()
    by_source = defaultdict[str, list[tuple[Facts, NDArray[np.float32]]]](list)
    for picture, row in zip(every, probabilities, strict=True):
        by_source[picture.family].append((picture, row))
    return {
        "bins": {signal: list(bins) for signal, bins in BINS.items()},
        "sources": {source: _count(pairs) for source, pairs in by_source.items()},
    }


def _count(pairs: Sequence[tuple[Facts, NDArray[np.float32]]]) -> dict[str, Any]:
    """Count pictures by the bins of each signal; one without ink has no digit, and no other warning."""
    pictures, probabilities = [picture for picture, _ in pairs], np.stack([row for _, row in pairs])
    warnings = [
        (NO_INK,) if NO_INK in picture.warnings else picture.warnings + of_model
        for picture, of_model in zip(pictures, warnings_for(probabilities), strict=True)
    ]
    answered = probabilities[[NO_INK not in names for names in warnings]]
    return {
        "pictures": len(pictures),
        "confidence": _histogram("confidence", answered.max(1).tolist()),
        "ink_ratio": _histogram("ink_ratio", [picture.ink_ratio for picture in pictures]),
        "digits": _frequencies("digits", map(str, answered.argmax(1).tolist())),
        "polarity": _frequencies("polarity", (picture.polarity for picture in pictures)),
        "warnings": _frequencies("warnings", (name for names in warnings for name in names)),
    }


def _histogram(signal: str, values: Sequence[float]) -> list[int]:
    """Count values by bins that are open below and closed above, as Prometheus' are."""
    bounds = np.array(BINS[signal])
    places = np.minimum(np.searchsorted(bounds, values), len(bounds) - 1)
    return np.bincount(places, minlength=len(bounds)).tolist()  # type: ignore[no-any-return]


def _frequencies(signal: str, values: Iterable[str]) -> list[int]:
    counts = Counter(values)
    return [counts[str(name)] for name in BINS[signal]]
