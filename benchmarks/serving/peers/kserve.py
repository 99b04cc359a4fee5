"""KServe's SDK: the Open Inference Protocol over FastAPI, a uvicorn process for each core.

kserve.github.io/website/docs/reference/python-runtime-sdk/python-runtime-sdk-api: `workers`,
`enable_latency_logging`. Batching is not the SDK's but its sidecar's, which runs in Kubernetes alone.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

# Read from the command line when kserve is imported: the one way to its access log.
LOGGING = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}}
with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
    json.dump(LOGGING, file)
sys.argv += ["--log_config_file", file.name]

from kserve import InferOutput, InferRequest, InferResponse, ModelServer
from kserve import Model as KServeModel

from benchmarks.serving.peers.model import PORT, WORKERS, Model, decode

if TYPE_CHECKING:
    from benchmarks.serving.peers.model import Pixels


class Mnist(KServeModel):
    """A tensor of pixels or of PNG files in, probabilities out."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._model = Model()
        self.ready = True

    async def predict(self, payload: InferRequest, headers: object = None, response_headers: object = None) -> InferResponse:
        """The probabilities of one request."""
        del headers, response_headers
        output = InferOutput("probabilities", [], "FP32")
        output.set_data_from_numpy(self._model.predict(_pixels(payload)), binary_data=False)
        return InferResponse(payload.id, self.name, [output])


def _pixels(payload: InferRequest) -> Pixels:
    (tensor,) = payload.inputs
    values: Pixels = tensor.as_numpy()
    return decode(*values.ravel()) if tensor.datatype == "BYTES" else values


if __name__ == "__main__":
    models = [Mnist("pixels"), Mnist("pictures")]
    ModelServer(PORT, workers=WORKERS, enable_grpc=False, enable_latency_logging=False).start(models)
