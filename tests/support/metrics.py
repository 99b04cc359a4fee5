"""What a service's metrics say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.pictures import Digits, png

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.service import Service

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
REFUSED = {"result": "failure"}


def successful_loads(service: Service) -> float:
    """How many workers have loaded the model."""
    return value(samples(f"{service.url}/metrics"), "mnist_model_reloads_total", {"result": "success"})


def samples(url: str) -> Samples:
    text = httpx.get(url, timeout=30).raise_for_status().text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, labels: Mapping[str, str] | None = None) -> float:
    return found[name, tuple(sorted((labels or {}).items()))]


def ask(url: str, digits: Digits, count: int) -> None:
    """Each request on a connection of its own, so that all workers get some."""
    for index in range(count):
        httpx.post(f"{url}/predict", content=png(digits.images[index]), timeout=30).raise_for_status()


def predictions(found: Samples) -> float:
    return sum(value(found, "mnist_predictions_total", {"digit": str(d)}) for d in range(10))


def settled(url: str, count: int) -> Samples:
    """The samples once so many predictions are counted: another worker's numbers come a few milliseconds later."""
    for _ in range(200):
        found = samples(f"{url}/metrics")
        if predictions(found) == count:
            return found
    pytest.fail(f"{predictions(found)} predictions are counted, not {count}")


def connections_cut(service: Service, reason: str) -> float:
    text = httpx.get(f"{service.url}/metrics").text
    return float(text.partition(f'mnist_connections_cut_total{{reason="{reason}"}} ')[2].partition("\n")[0])


def failed_loads(service: Service) -> float:
    return value(samples(f"{service.url}/metrics"), "mnist_model_reloads_total", REFUSED)


def under_way(service: Service) -> bool:
    """Is a request answered now, beside the one that asks?"""
    return "mnist_http_requests_in_progress 2.0" in httpx.get(f"{service.url}/metrics").text
