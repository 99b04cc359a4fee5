"""MLServer: the Open Inference Protocol over FastAPI, adaptive batching, inference in processes of their own.

docs.seldon.ai/mlserver/user-guide/adaptive-batching: both `max_batch_size` and `max_batch_time` must be set.
docs.seldon.ai/mlserver/user-guide/parallel-inference: `parallel_workers`.
"""

from __future__ import annotations

import asyncio

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import Base64Codec, NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.serving.peers.model import MAX_BATCH, PORT, WORKERS, Model, decode

WAIT_SECONDS = 0.001


class Mnist(MLModel):
    """A tensor of pixels or of PNG files in, probabilities out."""

    async def load(self) -> bool:
        """Load."""
        self._model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The probabilities of one batch."""
        (tensor,) = payload.inputs
        if tensor.datatype == "BYTES":
            images = decode(*Base64Codec.decode_input(tensor))
        else:
            images = NumpyCodec.decode_input(tensor)
        output = NumpyCodec.encode_output("probabilities", self._model.predict(images))
        return InferenceResponse(model_name=self.name, outputs=[output])


async def main() -> None:
    """Serve."""
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=PORT,
        grpc_port=0,
        metrics_endpoint=None,
        parallel_workers=WORKERS,
        gzip_enabled=False,
        load_models_at_startup=False,
    )
    model = ModelSettings(
        name="mnist", implementation=f"{__spec__.name}.Mnist", max_batch_size=MAX_BATCH, max_batch_time=WAIT_SECONDS
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main())
