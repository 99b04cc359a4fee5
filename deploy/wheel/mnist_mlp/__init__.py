"""MNIST digits: train a classifier, serve it, or read pictures in this process.

    from mnist_mlp import open_model

    open_model().read("photo.jpg").digit

This module exists in the wheel alone; in a checkout its names are those of `service`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import service
from .service import __version__

if TYPE_CHECKING:
    from .service import (
        Client,
        ClientError,
        Malformed,
        Model,
        ModelError,
        NotAPicture,
        NotCalibrated,
        Prediction,
        Refused,
        ServiceError,
        TooLarge,
        Unusable,
        open_model,
    )

__all__ = [
    "Client",
    "ClientError",
    "Malformed",
    "Model",
    "ModelError",
    "NotAPicture",
    "NotCalibrated",
    "Prediction",
    "Refused",
    "ServiceError",
    "TooLarge",
    "Unusable",
    "__version__",
    "open_model",
]


def __getattr__(name: str) -> object:
    """Import a name when it is first used: the client needs neither ONNX Runtime nor FastAPI."""
    if name in __all__:
        return getattr(service, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
