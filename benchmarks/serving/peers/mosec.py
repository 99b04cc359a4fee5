"""mosec: Rust receives and batches, Python processes decode and predict.

One stage with a process for each core (mosecorg.github.io/mosec/reference/interface.html: `num`, `max_batch_size`,
`max_wait_time`, whose least is 1 ms and whose default is 10). Decoding in a stage of its own would double the hops.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mosec import Server, Worker

from benchmarks.serving.peers.model import MAX_BATCH, PORT, WORKERS, Model, answer, from_body

if TYPE_CHECKING:
    from benchmarks.serving.peers.model import Pixels, Probabilities

WAIT_MS = 1


class Mnist(Worker):
    """Bodies in, predictions out."""

    def __init__(self) -> None:
        super().__init__()
        self._model = Model()

    def deserialize(self, data: bytes) -> Pixels:
        """The pixels of one request."""
        return from_body(data)

    def forward(self, data: list[Pixels]) -> list[Probabilities]:
        """The probabilities of several requests."""
        return self._model.predict_each(data)

    def serialize(self, data: Probabilities) -> bytes:
        """The answer to one request."""
        body: bytes = super().serialize(answer(data))
        return body


if __name__ == "__main__":
    os.environ |= {"MOSEC_PORT": str(PORT), "MOSEC_ADDRESS": "127.0.0.1", "MOSEC_LOG_LEVEL": "warning"}
    server = Server()
    server.append_worker(Mnist, num=WORKERS, max_batch_size=MAX_BATCH, max_wait_time=WAIT_MS, route="/predict")
    server.run()
