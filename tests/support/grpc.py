"""What tests of gRPC's limits share: calls that come at once, and a look at memory and HTTP beside them."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx

from tests.support.service import ROOT

if TYPE_CHECKING:
    from tests.support.service import Service

INFER = "/inference.GRPCInferenceService/ModelInfer"
SEVEN = ROOT / "service" / "page" / "seven.png"


def pss(service: Service) -> float:
    """MiB of memory that the service's process has for itself."""
    rollup = Path(f"/proc/{service.process.pid}/smaps_rollup").read_text()
    return int(rollup.partition("Pss:")[2].split()[0]) / 1024


class Watched:
    """The most memory that a service has while this context is open, and whether it answers over HTTP all the time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.before = pss(service)
        self.peak = self.before
        self.failed: list[str] = []

    def __enter__(self) -> Watched:
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
        picture, kind = SEVEN.read_bytes(), {"content-type": "image/png"}
        while not self._over.wait(0.02):
            self.peak = max(self.peak, pss(self._service))
            try:
                httpx.post(f"{self._service.url}/predict", content=picture, headers=kind, timeout=20)
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
