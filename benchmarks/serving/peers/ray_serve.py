"""Ray Serve: a proxy in front of a replica for each core, which batches.

docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html: `max_batch_size`, `batch_wait_timeout_s`.
docs.ray.io/en/latest/serve/configure-serve-deployment.html: `num_replicas`, `max_ongoing_requests` (5 by default).
docs.ray.io/en/master/kuberay/user-guides/serve-high-throughput.html: `RAY_SERVE_THROUGHPUT_OPTIMIZED`,
`RAY_SERVE_ENABLE_HA_PROXY`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Read when ray is imported.
os.environ |= {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_USAGE_STATS_ENABLED": "0"}

import ray
from ray import serve

from benchmarks.serving.peers.model import MAX_BATCH, PORT, WORKERS, Model, answer, from_body

if TYPE_CHECKING:
    from starlette.requests import Request

    from benchmarks.serving.peers.model import Pixels, Probabilities

WAIT_SECONDS = 0.001


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=2 * MAX_BATCH, ray_actor_options={"num_cpus": 1})
class Mnist:
    """Bodies in, predictions out."""

    def __init__(self) -> None:
        self._model = Model()

    async def __call__(self, request: Request) -> dict[str, Any]:
        """The answer to one request."""
        return answer(await self.predict(from_body(await request.body())))

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_SECONDS)
    async def predict(self, requests: list[Pixels]) -> list[Probabilities]:
        """The probabilities of several requests."""
        return self._model.predict_each(requests)


if __name__ == "__main__":
    ray.init(num_cpus=WORKERS + 1, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config={"enable_access_log": False})
    serve.run(Mnist.bind(), route_prefix="/predict", blocking=True)  # type: ignore[attr-defined]
