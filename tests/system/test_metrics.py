"""The numbers are right over all workers, also after one was killed."""

from __future__ import annotations

import base64
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from service.picture.prepare import prepare
from tests.support.metrics import ask, samples, settled, value
from tests.support.pictures import Digits, png
from tests.support.processes import children, command, resident, warm_reader, worker_pids
from tests.support.service import running_service, until

if TYPE_CHECKING:
    from tests.support.service import Service

COUNTED = "mnist_warnings_total"


@pytest.mark.parametrize("workers", [1, 2])
def test_counts_are_right_over_all_workers(digits: Digits, workers: int) -> None:
    """After known requests every counter and histogram says what was sent, and what never happened is a zero."""
    with running_service(workers=workers) as service:
        ask(service.url, digits, 20)
        httpx.post(f"{service.url}/predict", content=b"no picture", headers={"content-type": "image/png"})
        httpx.post(f"{service.url}/predict", content=png(255 - digits.images[0]))
        httpx.get(f"{service.url}/nowhere/at/all")
        settled(service.url, 21)
        found = samples(f"{service.url}/metrics")
    predict = {"route": "/predict", "method": "POST"}
    assert value(found, "mnist_http_requests_total", predict | {"code": "200"}) == 21
    assert value(found, "mnist_http_requests_total", predict | {"code": "415"}) == 1
    assert value(found, "mnist_http_requests_total", {"route": "other", "method": "GET", "code": "404"}) == 1
    assert value(found, "mnist_http_request_duration_seconds_count", {"route": "/predict"}) == 22
    assert value(found, "mnist_prediction_confidence_count") == 21
    assert value(found, "mnist_input_ink_ratio_count") == 21
    assert value(found, "mnist_input_polarity_total", {"polarity": "dark_on_light"}) == 1
    assert value(found, "mnist_rejected_images_total", {"reason": "not_a_picture"}) == 1
    assert value(found, "mnist_rejected_images_total", {"reason": "too_large"}) == 0
    assert value(found, "mnist_shed_requests_total", {"reason": "overloaded"}) == 0
    for stage in ("decode", "queue", "inference", "encode"):
        assert value(found, "mnist_stage_duration_seconds_count", {"stage": stage}) == 21
    assert value(found, "mnist_batch_size_sum") == 21
    assert value(found, "mnist_http_requests_in_progress") == 1  # the scrape itself
    assert value(found, "mnist_queue_depth") == 0
    assert [v for (name, _), v in found.items() if name == "mnist_build_info"] == [1]


def test_counters_do_not_go_backwards_when_a_worker_is_killed(digits: Digits) -> None:
    """A SIGKILLed worker's counts stay in the sum, its gauges leave it, and its place is filled."""
    with running_service(workers=2) as service:
        ask(service.url, digits, 10)
        settled(service.url, 10)
        first, second = worker_pids(service)
        os.kill(first, signal.SIGKILL)
        ask(service.url, digits, 10)
        settled(service.url, 20)

        def in_progress() -> float:
            return value(samples(f"{service.url}/metrics"), "mnist_http_requests_in_progress")

        # This scrape alone, once the other worker has told that the scrape before it is over.
        until(lambda: in_progress() == 1, "the dead worker's gauges stay")
        assert second in worker_pids(service)


@pytest.mark.parametrize("workers", [1, 2])
def test_metrics_can_have_a_port_of_their_own(digits: Digits, workers: int) -> None:
    """With metrics_port the numbers are there, and the service's own port has no /metrics."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_service(workers=workers, metrics_port=port) as service:
        ask(service.url, digits, 3)
        found = settled(f"http://127.0.0.1:{port}", 3)
        assert value(found, "mnist_batch_size_sum") == 3
        assert httpx.get(f"{service.url}/metrics").status_code == 404


def of_processes(service: Service, name: str) -> dict[str, float]:
    """A metric of the processes, by kind and worker: `worker 0`."""
    found = samples(f"{service.url}/metrics").items()
    return {" ".join(dict(labels).values()).strip(): value for (metric, labels), value in found if metric == name}


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_are_measured_over_all_workers(workers: int) -> None:
    """Memory and descriptors are those that the system has; readers and the supervisor have theirs; CPU time grows."""
    with running_service(workers=workers) as service:
        for _ in range(4):  # each on a connection of its own, so that all workers read pictures
            warm_reader(service)
        memory = of_processes(service, "mnist_process_resident_memory_bytes")
        kinds = {f"{kind} {number}" for kind in ("worker", "reader", "large_reader") for number in range(workers)}
        assert set(memory) == kinds | ({"supervisor"} if workers == 2 else set())
        assert memory["large_reader 0"] == 0
        pids = worker_pids(service) if workers == 2 else [service.process.pid]
        for number, pid in enumerate(pids):
            assert memory[f"worker {number}"] == pytest.approx(resident(pid), rel=0.05)
            readers = [child for child in children(pid) if b"service.reader" in command(child)]
            assert memory[f"reader {number}"] == pytest.approx(sum(map(resident, readers)), rel=0.05)
        descriptors = of_processes(service, "mnist_process_open_fds")
        assert set(descriptors) == set(memory)
        for number, pid in enumerate(pids):
            assert descriptors[f"worker {number}"] == pytest.approx(len(os.listdir(f"/proc/{pid}/fd")), abs=3)  # noqa: PTH208
        before = of_processes(service, "mnist_process_cpu_seconds_total")
        assert set(before) == {name for name in memory if "large" not in name}
        assert all(seconds > 0 for name, seconds in before.items() if "worker" in name)  # others: less than a tick
        for _ in range(20):
            warm_reader(service)
        after = of_processes(service, "mnist_process_cpu_seconds_total")
        assert all(after[name] >= before[name] for name in before)
        assert sum(after.values()) > sum(before.values())
        assert of_processes(service, "mnist_workers") == {"": workers}
        assert of_processes(service, "mnist_worker_restarts_total") == {"exit": 0, "signal": 0, "hang": 0}


def test_a_killed_worker_is_a_restart_and_keeps_its_cpu_time() -> None:
    """The restart is counted by its reason, the number of workers is whole again, and no CPU time decreases.

    Workers that SIGHUP replaces are no restarts.
    """
    with running_service(workers=2) as service:
        before = of_processes(service, "mnist_process_cpu_seconds_total")
        killed, kept = worker_pids(service)
        os.kill(killed, signal.SIGKILL)
        until(lambda: of_processes(service, "mnist_worker_restarts_total")["signal"] == 1, "it is not counted")
        until(lambda: of_processes(service, "mnist_workers") == {"": 2}, "it is not replaced")
        assert kept in worker_pids(service)
        successors = set(worker_pids(service))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(worker_pids(service)) == 2 and not successors & set(worker_pids(service)), "they stay")
        after = of_processes(service, "mnist_process_cpu_seconds_total")
        assert all(after[name] >= before[name] for name in before)
        assert of_processes(service, "mnist_worker_restarts_total") == {"exit": 0, "signal": 1, "hang": 0}


def test_each_warning_is_counted_on_every_route(server: Service, digits: Digits) -> None:
    """Digits on their side, by /predict, with explanations, and as V2's pixels and pictures: each counts the same."""
    images = np.rot90(digits.images[:25], axes=(1, 2))
    files = [("images", ("digit.png", png(image))) for image in images]
    pixels = np.stack([prepare(image).pixels for image in images])
    tensor = {"name": "images", "datatype": "UINT8", "shape": [25, 1, 28, 28], "data": pixels.ravel().tolist()}
    texts = [base64.b64encode(png(image)).decode() for image in images]
    encoded = {"name": "images", "datatype": "BYTES", "shape": [25], "data": texts}
    url = server.url

    def warned(**request: Any) -> Counter[str]:
        """What a request adds to the counters."""
        before = warnings(url)
        httpx.post(**request).raise_for_status()
        until(lambda: warnings(url) != before, "no warning is counted")
        return warnings(url) - before

    schema = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]["Prediction"]
    assert set(schema["properties"]["warnings"]["items"]["enum"]) <= set(warnings(url))
    said = httpx.post(f"{url}/predict", files=files).json()["predictions"]
    expected = Counter(name for prediction in said for name in prediction["warnings"])
    assert expected["unlike_a_digit"] > 5
    assert expected["low_confidence"] > 0
    for path in ("/predict", "/predict?explain=1", "/predictions/mnist-mlp"):
        assert warned(url=url + path, files=files) == expected, path
    for inputs in (tensor, encoded):
        assert warned(url=f"{url}/v2/models/mnist-mlp/infer", json={"inputs": [inputs]}) == expected
    assert warned(url=f"{url}/predict", content=png(np.zeros((40, 40), np.uint8))) == {"no_ink": 1}


def warnings(url: str) -> Counter[str]:
    """How often each warning was counted."""
    found = samples(f"{url}/metrics")
    return Counter({dict(labels)["warning"]: round(n) for (name, labels), n in found.items() if name == COUNTED})
