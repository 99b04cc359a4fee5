"""KServe's SDK: the Open Inference Protocol over FastAPI, a uvicorn process for each core.

kserve.github.io/website/docs/reference/python-runtime-sdk/python-runtime-sdk-api: `workers`,
`enable_latency_logging`, `--log_config_file`. Batching is not the SDK's but its sidecar's, which runs in Kubernetes.
"""

from __future__ import annotations

import base64
import json
import tempfile
from typing import TYPE_CHECKING, Any

from kserve import InferOutput, InferRequest, InferResponse, ModelServer, model_server
from kserve import Model as KServeModel
from kserve.utils.utils import generate_uuid

from benchmarks.serving.peers.model import PORT, WORKERS, Model, decode

if TYPE_CHECKING:
    from benchmarks.serving.peers.model import Pixels

LOGGING: dict[str, Any] = {
    "version": 1,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
}


class Mnist(KServeModel):
    """A tensor of pixels or of PNG files in base64 in, probabilities out."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._model = Model()
        self.ready = True

    async def predict(
        self, payload: InferRequest, headers: object = None, response_headers: object = None
    ) -> InferResponse:
        """The probabilities of one request."""
        del headers, response_headers
        probabilities = self._model.predict(_pixels(payload))
        output = InferOutput("probabilities", list(probabilities.shape), "FP32")
        output.set_data_from_numpy(probabilities, binary_data=False)
        return InferResponse(generate_uuid(), self.name, [output])


def _pixels(payload: InferRequest) -> Pixels:
    (tensor,) = payload.inputs
    if tensor.datatype == "BYTES":
        return decode(*map(base64.b64decode, tensor.as_numpy().ravel()))
    pixels: Pixels = tensor.as_numpy()
    return pixels


if __name__ == "__main__":
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(LOGGING, file)
        file.flush()
        model_server.args.log_config_file = file.name  # the parsed command line; workers read it too
        ModelServer(PORT, workers=WORKERS, enable_grpc=False, enable_latency_logging=False).start([Mnist("mnist")])
