"""gRPC: calls of the Open Inference Protocol, many at once, and the memory that the service takes meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np

from service.codec import inference_pb2 as pb
from tests.support.pictures import SEVEN, png

if TYPE_CHECKING:
    from service.arrays import Probabilities
    from tests.support.service import Service

MODEL = "mnist-mlp"
INFER = "/inference.GRPCInferenceService/ModelInfer"
Tensor = pb.ModelInferRequest.InferInputTensor


def infer(channel: Any, request: pb.ModelInferRequest, **options: Any) -> pb.ModelInferResponse:
    return method(channel)(request, timeout=60, **options)  # type: ignore[no-any-return]


def method(channel: Any) -> Any:
    return channel.unary_unary(
        INFER,
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )


def request(*contents: bytes, **changes: Any) -> pb.ModelInferRequest:
    """Three digits' pixels, or with what is changed; `contents` are raw."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [3, 1, 28, 28]} | changes
    outputs = tensor.pop("outputs", [])
    return pb.ModelInferRequest(
        model_name=MODEL, inputs=[Tensor(**tensor)], outputs=outputs, raw_input_contents=contents
    )


def probabilities(answer: pb.ModelInferResponse) -> Probabilities:
    return np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(answer.outputs[0].shape)


def heavy() -> pb.ModelInferRequest:
    """Pictures that take seconds to decode: long enough to be seen under way, however busy the machine is."""
    large = png(np.kron(np.eye(30), np.full((100, 100), 255)).astype(np.uint8))
    return request(datatype="BYTES", shape=[64], contents={"bytes_contents": [large] * 64})


def pss(service: Service) -> float:
    """MiB of memory that the service's process has for itself."""
    rollup = Path(f"/proc/{service.process.pid}/smaps_rollup").read_text()
    return int(rollup.partition("Pss:")[2].split()[0]) / 1024


class WatchedMemory:
    """The most memory that a service has while this context is open, and whether it answers over HTTP all the time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = pss(service)
        self.peak = self.before
        self.failed: list[str] = []

    def __enter__(self) -> WatchedMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        assert self.failed == []

    @property
    def grown(self) -> float:
        """MiB."""
        return self.peak - self.before

    def _watch(self) -> None:
        kind = {"content-type": "image/png"}
        while not self._over.wait(0.02):
            self.peak = max(self.peak, pss(self._service))
            try:
                httpx.post(f"{self._service.url}/predict", content=SEVEN, headers=kind, timeout=20)
            except httpx.HTTPError as error:
                self.failed.append(repr(error))


def at_once(service: Service, count: int, data: bytes, **options: Any) -> Counter[str]:
    """How so many calls end that come at once, each over a connection of its own."""
    ends: Counter[str] = Counter()

    def one() -> None:
        own = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(service.grpc, own) as channel:
            try:
                channel.unary_unary(INFER)(data, timeout=60, **options)
                ends["OK"] += 1
            except grpc.RpcError as error:
                ends[error.code().name] += 1

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends
