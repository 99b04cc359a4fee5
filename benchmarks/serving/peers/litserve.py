"""LitServe: FastAPI processes receive, and hand what they got to inference processes.

As many of both as cores (lightning.ai/docs/litserve/api-reference/litserver: `workers_per_device`, `num_api_servers`),
ZeroMQ between them (`fast_queue`, "hundreds of requests per second"), batches that wait 1 ms
(lightning.ai/docs/litserve/features/batching).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import litserve

from benchmarks.serving.peers.model import MAX_BATCH, PORT, WORKERS, Model, answer, from_body, from_json

if TYPE_CHECKING:
    from benchmarks.serving.peers.model import Pixels, Probabilities

WAIT_SECONDS = 0.001


class Mnist(litserve.LitAPI):
    """Forms and JSON in, predictions out."""

    def setup(self, device: str) -> None:
        """Load."""
        del device
        self._model = Model()

    # Not annotated: LitServe would take the types for schemas.
    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """The pixels of one request."""
        return from_body(request["file"].file.read()) if "file" in request else from_json(request)

    def batch(self, inputs: list[Pixels]) -> list[Pixels]:
        """Requests may hold several images each: joined by the model."""
        return inputs

    def predict(self, x: list[Pixels]) -> list[Probabilities]:
        """The probabilities of several requests."""
        return self._model.predict_each(x)

    def unbatch(self, output: list[Probabilities]) -> list[Probabilities]:
        """One for each request."""
        return output

    def encode_response(self, output):  # type: ignore[no-untyped-def]
        """The answer to one request."""
        return answer(output)


if __name__ == "__main__":
    api = Mnist(max_batch_size=MAX_BATCH, batch_timeout=WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS, fast_queue=True)
    server.run("127.0.0.1", PORT, num_api_servers=WORKERS, log_level="warning", generate_client_file=False)
