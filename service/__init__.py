"""The service: pictures in, digits out. It knows the artefact in `models/` and nothing of the code that made it.

What others import stands here: `open_model` reads pictures in this process, `Client` asks a running service. Each name
is imported when it is first used, so that the client loads neither ONNX Runtime nor FastAPI. ONNX Runtime reads a
setting here when it is imported, so it comes before every import.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import Client, ClientError, Prediction, Refused
    from .errors import Malformed, ModelError, NotAPicture, NotCalibrated, ServiceError, TooLarge, Unusable
    from .in_process import Model, open_model

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime sends it on Linux since 1.29

__version__ = "0.2.0"
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

_HOMES = {
    **dict.fromkeys(("Client", "ClientError", "Prediction", "Refused"), "client"),
    **dict.fromkeys(
        ("Malformed", "ModelError", "NotAPicture", "NotCalibrated", "ServiceError", "TooLarge", "Unusable"), "errors"
    ),
    **dict.fromkeys(("Model", "open_model"), "in_process"),
}


def __getattr__(name: str) -> object:
    """Import a public name from its module; raises `AttributeError` for any other."""
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
