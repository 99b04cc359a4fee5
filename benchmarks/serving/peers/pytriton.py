"""PyTriton: NVIDIA's Triton receives and batches, Python functions decode and predict.

triton-inference-server.github.io/pytriton/latest/binding_configuration: `max_batch_size`, `DynamicBatcher`, whose
default waits for nobody; several functions for one model are several instances.
"""

from __future__ import annotations

import os
import sysconfig
from typing import TYPE_CHECKING

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.serving.peers.model import MAX_BATCH, PORT, WORKERS, Model, decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.serving.peers.model import Pixels, Probabilities

OUTPUT = Tensor(name="probabilities", dtype=np.float32, shape=(10,))


class Mnist:
    """One instance of the model."""

    def __init__(self) -> None:
        self._model = Model()

    @batch
    def pixels(self, images: Pixels) -> dict[str, Probabilities]:
        """The probabilities of pixels."""
        return {"probabilities": self._model.predict(images)}

    @batch
    def pictures(self, images: NDArray[np.object_]) -> dict[str, Probabilities]:
        """The probabilities of PNG files."""
        return {"probabilities": self._model.predict(decode(*images[:, 0]))}


if __name__ == "__main__":
    # Triton's Python backend loads libpython: that of this interpreter, not another of its version that lies about.
    os.environ["LD_LIBRARY_PATH"] = sysconfig.get_config_var("LIBDIR")
    instances = [Mnist() for _ in range(WORKERS)]
    config = ModelConfig(max_batch_size=MAX_BATCH, batcher=DynamicBatcher())
    with Triton(
        config=TritonConfig(http_address="127.0.0.1", http_port=PORT, allow_grpc=False, allow_metrics=False)
    ) as triton:
        images = Tensor(name="images", dtype=np.uint8, shape=(1, 28, 28))
        files = Tensor(name="images", dtype=bytes, shape=(1,))
        triton.bind("pixels", [each.pixels for each in instances], [images], [OUTPUT], config=config)
        triton.bind("pictures", [each.pictures for each in instances], [files], [OUTPUT], config=config)
        triton.serve()
