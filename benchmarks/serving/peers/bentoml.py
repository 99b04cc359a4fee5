"""BentoML: a Starlette process for each core, pydantic for every input, adaptive batching.

docs.bentoml.com/en/latest/get-started/adaptive-batching.html: `batchable`, `max_batch_size`; such a route takes a list,
be it of one. docs.bentoml.com/en/latest/build-with-bentoml/iotypes.html: pictures come in forms, tensors in JSON, and a
positional argument is the whole body, which cannot be batched.
docs.bentoml.com/en/latest/reference/bentoml/configurations.html: `workers`, `logging`.
"""

# No `from __future__ import annotations`: BentoML reads them.
import base64
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import ContentType
from PIL.Image import Image

from benchmarks.serving.peers.model import (
    MAX_BATCH,
    PORT,
    WORKERS,
    Model,
    Pixels,
    answer,
    decode,
    from_body,
    from_images,
)

batched = bentoml.api(batchable=True, max_batch_size=MAX_BATCH)


@bentoml.service(workers=WORKERS, http={"host": "127.0.0.1", "port": PORT}, logging={"access": {"enabled": False}})
class Mnist:
    """Forms, JSON and bytes in, predictions out."""

    def __init__(self) -> None:
        self._model = Model()

    @batched
    def predict(self, file: list[Image]) -> list[dict[str, Any]]:
        """One prediction for each file of a form."""
        return self._answer(from_images(file))

    @batched
    def numbers(self, images: np.ndarray) -> list[dict[str, Any]]:
        """One prediction for each row of 784 numbers."""
        return self._answer(images.astype(np.uint8).reshape(-1, 1, 28, 28))

    @batched
    def pictures(self, images: list[str]) -> list[dict[str, Any]]:
        """One prediction for each PNG in base64."""
        return self._answer(decode(*map(base64.b64decode, images)))

    @bentoml.api(route="/bytes")
    def octets(self, file: Annotated[Path, ContentType("application/octet-stream")], /) -> list[dict[str, Any]]:
        """A prediction for 784 bytes."""
        return self._answer(from_body(file.read_bytes()))

    def _answer(self, images: Pixels) -> list[dict[str, Any]]:
        predictions: list[dict[str, Any]] = answer(self._model.predict(images))["predictions"]
        return predictions


if __name__ == "__main__":
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.execv(sys.executable, [sys.executable, "-m", "bentoml", "serve", f"{__spec__.name}:Mnist"])  # noqa: S606
