"""What every server of others does in the same words: read the model and pictures, answer, tell what came out.

In: a body in the plain dialect of `bodies`. Out: pixels uint8[N,1,28,28]; probabilities float32[N,10]; an answer as
`/predict` gives it. It knows NumPy, ONNX Runtime and Pillow, and nothing of any server.
"""

from __future__ import annotations

import base64
import io
import json
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


Pixels: TypeAlias = NDArray[np.uint8]
Probabilities: TypeAlias = NDArray[np.float32]

PORT = int(os.environ.get("PORT", "8000"))
WORKERS = int(os.environ.get("WORKERS", "1"))
MAX_BATCH = 64  # requests in one run of the model, for servers that must be told


class Model:
    """The model file in a session with one thread that does not spin while it waits: the cores are for the workers."""

    def __init__(self, file: str = os.environ.get("MNIST_MODEL", "")) -> None:
        self._file = file
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(file, options)

    def __reduce__(self) -> tuple[type[Model], tuple[str]]:
        """Some servers pickle the model for their workers: what goes over is the file's name."""
        return Model, (self._file,)

    def predict(self, images: Pixels) -> Probabilities:
        """Probabilities float32[N,10] of images uint8[N,1,28,28]."""
        (probabilities,) = self._session.run(None, {"images": images})
        return probabilities  # type: ignore[no-any-return]

    def predict_each(self, requests: Sequence[Pixels]) -> list[Probabilities]:
        """One run of the model for several requests, however many images each has."""
        ends = np.cumsum([len(images) for images in requests])
        return np.split(self.predict(np.concatenate(requests)), ends[:-1])


def decode(*files: bytes) -> Pixels:
    """Pixels uint8[N,1,28,28] of pictures that are as MNIST made them."""
    return from_images(Image.open(io.BytesIO(file)) for file in files)


def from_images(images: Iterable[Image.Image]) -> Pixels:
    """Pixels uint8[N,1,28,28] of opened pictures."""
    return np.stack([np.asarray(image.convert("L").resize((28, 28))) for image in images])[:, None]


def from_body(body: bytes) -> Pixels:
    """Pixels uint8[N,1,28,28] of a PNG, of JSON with numbers or base64, or of N·784 bytes."""
    if body.startswith(b"\x89PNG"):
        return decode(body)
    if body.startswith(b"{"):
        return from_json(json.loads(body))
    return np.frombuffer(body, np.uint8).reshape(-1, 1, 28, 28)


def from_json(parsed: dict[str, Any]) -> Pixels:
    """Pixels uint8[N,1,28,28] of `{"image": 784 numbers}` or `{"images": N PNG files in base64}`."""
    if "image" in parsed:
        return np.array(parsed["image"], np.uint8).reshape(1, 1, 28, 28)
    return decode(*map(base64.b64decode, parsed["images"]))


def answer(probabilities: Probabilities) -> dict[str, Any]:
    """What `/predict` would answer, without warnings."""
    return {
        "predictions": [
            {"digit": int(row.argmax()), "confidence": float(row.max()), "probabilities": row.tolist()}
            for row in probabilities
        ]
    }
