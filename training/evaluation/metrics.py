"""How good probabilities are: accuracy, NLL, calibration, confusion, recall; and the temperature that calibrates them.

In: probabilities or logits, and labels. Out: numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ..data.digits import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

BINS = 15  # of Guo et al. 2017
CHUNK = 1000  # images at once: fits the cache


@dataclass(frozen=True)
class Metrics:
    """`nll` in nats an image; `ece` expected calibration error, 0 to 1; `confusion[true][predicted]` counts."""

    count: int
    accuracy: float
    nll: float
    ece: float
    recall: list[float]
    confusion: list[list[int]]


@torch.no_grad()
def outputs(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return what a network, or a method of it, gives for images uint8[N,1,28,28]: float32[N,10], computed in chunks.

    The network must be in evaluation mode, as `fit` leaves it.
    """
    return torch.cat([function(chunk) for chunk in torch.split(images, CHUNK)])


def evaluate(probabilities: Tensor, labels: Tensor) -> Metrics:
    """Return the `Metrics` of probabilities float32[N,10] against labels int64[N]."""
    predicted = probabilities.argmax(dim=1)
    confusion = torch.bincount(labels * CLASSES + predicted, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    chosen = probabilities.double()[torch.arange(len(labels)), labels]
    recall = confusion.diag() / confusion.sum(dim=1).clamp(min=1)
    return Metrics(
        count=len(labels),
        accuracy=(predicted == labels).double().mean().item(),
        nll=-chosen.clamp(min=1e-30).log().mean().item(),
        ece=calibration_error(probabilities, labels),
        recall=recall.tolist(),
        confusion=confusion.tolist(),
    )


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Return the weighted mean of |accuracy - confidence| over 15 bins of equal width (Guo et al. 2017)."""
    confidence, predicted = probabilities.double().max(dim=1)
    # Bins are open below and closed above, as in the paper.
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gap = (predicted == labels).double() - confidence
    return torch.zeros(BINS, dtype=torch.float64).index_add(0, bins, gap).abs().sum().item() / len(labels)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the T that minimises the NLL of softmax(logits / T): logits float32[N,10], labels int64[N].

    This is temperature scaling (Guo et al. 2017). The NLL is convex in 1/T, so Newton's method needs a few steps. T is
    kept within 0.1 to 10, because without any error the best T would be 0.
    """
    scores = logits.double()
    inverse = 1.0
    for _ in range(20):
        probabilities = functional.softmax(scores * inverse, dim=1)
        mean = (probabilities * scores).sum(dim=1)
        slope = (mean - scores[torch.arange(len(labels)), labels]).mean()
        curvature = ((probabilities * scores.square()).sum(dim=1) - mean.square()).mean()
        inverse = min(10.0, max(0.1, inverse - (slope / curvature.clamp(min=1e-12)).item()))
    return 1 / inverse
