"""The only import of the service, so that training measures what it serves: preparation, warnings, sets and bins.

In the checkout the two packages are side by side; the wheel installs both below `mnist_mlp`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "training":
    from service.model.conformal import Quantiles, make_sets, read_quantiles, scores_of
    from service.model.uncertainty import warnings_for
    from service.observability.signals import BINS, NO_INK, WARNINGS
    from service.picture.prepare import prepare, read
else:
    from ..service.model.conformal import Quantiles, make_sets, read_quantiles, scores_of
    from ..service.model.uncertainty import warnings_for
    from ..service.observability.signals import BINS, NO_INK, WARNINGS
    from ..service.picture.prepare import prepare, read

__all__ = [
    "BINS",
    "NO_INK",
    "WARNINGS",
    "Quantiles",
    "make_sets",
    "prepare",
    "read",
    "read_quantiles",
    "scores_of",
    "warnings_for",
]
