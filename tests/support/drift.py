"""The drift that a service measures by the reference of its version."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx

from tests.support.metrics import samples
from tests.support.service import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.service import Service

IN_REQUEST = 25  # pictures


def send(service: Service, pictures: Sequence[bytes]) -> None:
    """Ask for all pictures, some in each request, on connections of their own: so each worker gets some."""
    before = counted(service)

    def ask(start: int) -> None:
        files = [("images", ("picture", picture)) for picture in pictures[start : start + IN_REQUEST]]
        predictions = httpx.post(f"{service.url}/predict", files=files).raise_for_status().json()["predictions"]
        assert not [prediction["error"] for prediction in predictions if "error" in prediction]

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, range(0, len(pictures), IN_REQUEST)))
    until(lambda: counted(service) == before + len(pictures), "the pictures are not counted")


def counted(service: Service) -> int:
    """How many pictures have been answered."""
    found = samples(service.metrics)
    return round(sum(value for (name, _), value in found.items() if name == "mnist_input_polarity_total"))


def drift(service: Service) -> dict[str, float]:
    """The index of each signal."""
    found = samples(service.metrics)
    return {dict(labels)["signal"]: value for (name, labels), value in found.items() if name == "mnist_drift"}
