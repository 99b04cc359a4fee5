"""A model that is too slow for what is asked: who is answered, who is refused, and that the service stays reachable."""

from __future__ import annotations

import asyncio
import io
import itertools
import shutil
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest

from service.model.classifier import Classifier
from tests.support.pictures import Digits, png
from tests.support.service import MODELS, Service, running_service
from tests.support.service import publish as publish_committed
from training.export.publish import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.arrays import Pixels

SIZES = (784, 2560, 2304, 10)  # as large as a model may be
PIXELS = "application/octet-stream"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published model of random weights that takes milliseconds for one picture."""
    rng = np.random.default_rng(0)
    cast: dict[str, Any] = {"to": onnx.TensorProto.FLOAT}
    steps = [("Cast", ["images"], cast), ("Flatten", ["0"], {})]
    weights = []
    for number, (inside, outside) in enumerate(itertools.pairwise(SIZES)):
        # Scaled so that the answers differ from picture to picture.
        scale = (2 / inside) ** 0.5 / (255 if number == 0 else 1)
        array = rng.standard_normal((inside, outside), np.float32) * np.float32(scale)
        weights.append(onnx.numpy_helper.from_array(array, f"w{number}"))
        steps += [("Relu", [str(len(steps) - 1)], {})] if number else []
        steps.append(("MatMul", [str(len(steps) - 1), f"w{number}"], {}))
    steps.append(("Softmax", [str(len(steps) - 1)], {}))
    names = [*map(str, range(len(steps) - 1)), "probabilities"]
    nodes = [onnx.helper.make_node(op, i, [o], **more) for (op, i, more), o in zip(steps, names, strict=True)]
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", 1, 28, 28])
    output = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["N", 10])
    graph = onnx.helper.make_graph(nodes, "large", [images], [output], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    content = model.SerializeToString()
    golden = rng.integers(0, 256, (3, 1, 28, 28), np.uint8)
    (probabilities,) = onnxruntime.InferenceSession(content).run(None, {"images": golden})
    file = io.BytesIO()
    np.savez(file, images=golden, probabilities=probabilities)
    folder = tmp_path_factory.mktemp("models") / "mnist-mlp"
    card = {"schema": "mnist-mlp/1", "name": "mnist-mlp", "run": "large"}
    publish(folder, content, file.getvalue(), card, lambda _: "", number=1)
    return folder


@pytest.fixture(scope="module")
def slow(large: Path) -> Iterator[Service]:
    """A service with that model, which lets requests wait for a quarter of a second."""
    with running_service(
        model_dir=large, model_version=1, max_images=2048, max_wait_seconds=0.25, timeout_seconds=60
    ) as service:
        yield service


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: httpx.Headers
    content: bytes


async def post(client: httpx.AsyncClient, content: bytes, **headers: str) -> Answer:
    answer = await client.post("/predict", content=content, headers={"content-type": PIXELS, **headers})
    return Answer(answer.status_code, answer.headers, answer.content)


async def under_way(client: httpx.AsyncClient, digits: Digits) -> asyncio.Task[Answer]:
    """A request whose long run is under way; another one where it was over before that was seen."""
    while True:
        busy = asyncio.ensure_future(post(client, digits.images[:2048].tobytes()))
        while not busy.done():
            if "mnist_http_requests_in_progress 2.0" in (await client.get("/metrics")).text:
                return busy


def probabilities(answer: Answer) -> np.ndarray:
    answered = httpx.Response(200, content=answer.content).json()["predictions"]
    return np.array([prediction["probabilities"] for prediction in answered])


def connect(service: Service) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=200)
    return httpx.AsyncClient(base_url=service.url, timeout=120, limits=limits)


def shed(service: Service, reason: str) -> float:
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    return float(text.partition(f'mnist_shed_requests_total{{reason="{reason}"}} ')[2].partition("\n")[0])


def test_the_loop_goes_on_while_a_large_model_runs(slow: Service, digits: Digits) -> None:
    """While one run of 2,048 pictures takes its time, health is asked and answered three times."""

    async def ask() -> bool:
        async with connect(slow) as client:
            busy = await under_way(client, digits)
            for _ in range(3):
                (await client.get("/livez")).raise_for_status()
            in_time = not busy.done()
            assert (await busy).status == 200
            return in_time

    assert any(asyncio.run(ask()) for _ in range(10))  # on a busy machine a run may be over before anybody looks


def test_in_a_thread_every_answer_belongs_to_its_request(large: Path, slow: Service, digits: Digits) -> None:
    """2,000 different pictures over 64 connections, in requests of 1 to 19: all are answered as offline."""
    classifier = Classifier.load(large, "1")
    offline = classifier.predict(digits.images[:2000, None])
    assert offline.argmax(1).std() > 1  # a mix-up would be seen
    cuts = np.cumsum(np.random.default_rng(0).integers(1, 20, 400))
    parts = np.split(np.arange(2000), cuts[cuts < 2000])
    line = iter(parts)

    async def client_of(client: httpx.AsyncClient) -> float:
        worst = 0.0
        for part in line:
            answer = await post(client, digits.images[part].tobytes())
            while answer.status == 503:
                answer = await post(client, digits.images[part].tobytes())
            worst = max(worst, float(np.abs(probabilities(answer) - offline[part]).max()))
        return worst

    async def all_at_once() -> list[float]:
        async with connect(slow) as client:
            return await asyncio.gather(*(client_of(client) for _ in range(64)))

    assert max(asyncio.run(all_at_once())) < 1e-5


def test_overload_is_refused_and_passes(slow: Service, digits: Digits) -> None:
    """A burst of many times what may wait: some get 503 and a time to come back, all others the right answer.

    Health and metrics answer meanwhile, and afterwards all is as before.
    """
    before = shed(slow, "overloaded")
    parts = [digits.images[number : number + 64] for number in range(150)]

    async def burst() -> list[Answer]:
        async with connect(slow) as client, connect(slow) as other:
            asked = [asyncio.ensure_future(post(client, part.tobytes())) for part in parts]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert (await other.get("/readyz")).status_code == 200
            assert (await other.get("/metrics")).status_code == 200
            return await asyncio.gather(*asked)

    answers = asyncio.run(burst())
    refused = [answer for answer in answers if answer.status == 503]
    answered = [(part, answer) for part, answer in zip(parts, answers, strict=True) if answer.status == 200]
    assert refused
    assert answered
    assert len(refused) + len(answered) == len(parts)
    for part, answer in answered:
        alone = httpx.post(f"{slow.url}/predict", content=part.tobytes(), headers={"content-type": PIXELS}, timeout=60)
        assert probabilities(answer) == pytest.approx(
            probabilities(Answer(200, alone.headers, alone.content)), abs=1e-5
        )
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].headers["content-type"] == "application/problem+json"
    problem = httpx.Response(503, content=refused[0].content).json()
    assert (problem["reason"], problem["request_id"]) == ("overloaded", refused[0].headers["x-request-id"])
    assert 0 < problem["limit"] <= 0.25
    assert shed(slow, "overloaded") == before + len(refused)


def predicted_wait(metrics: str) -> float:
    return float(metrics.partition("\nmnist_predicted_wait_seconds ")[2].partition("\n")[0])


def test_the_predicted_wait_is_exported_while_requests_wait_and_no_longer(slow: Service, digits: Digits) -> None:
    """An autoscaler sees more than 50 ms while more comes than can be answered, and 0 once nothing waits."""
    body = digits.images[:64].tobytes()

    async def one_after_another(client: httpx.AsyncClient, enough: asyncio.Event) -> None:
        while not enough.is_set():
            await post(client, body)

    async def overload() -> None:
        async with connect(slow) as client, connect(slow) as other:
            enough = asyncio.Event()
            clients = [asyncio.ensure_future(one_after_another(client, enough)) for _ in range(40)]
            while predicted_wait((await other.get("/metrics")).text) < 0.05:
                pass
            enough.set()
            await asyncio.gather(*clients)
            while predicted_wait((await other.get("/metrics")).text) != 0:
                pass

    asyncio.run(asyncio.wait_for(overload(), 60))


def post_again(url: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
    """The answer, asked for again where a busy machine took longer than the time given to read the request."""
    while (answer := httpx.post(url, content=content, headers=headers, timeout=60)).status_code == 504:
        pass
    return answer


@pytest.mark.parametrize("fast_path", [True, False])
def test_the_time_that_a_client_gives(large: Path, digits: Digits, fast_path: bool) -> None:
    """A millisecond is too little for this model: refused at once; a minute is enough; no number is 400."""
    with running_service(model_dir=large, model_version=1, fast_path=fast_path) as service:
        url, body = f"{service.url}/predict", png(digits.images[0])
        given = {
            text: post_again(url, content=body, headers={"x-request-timeout-ms": text})
            for text in ("1", "60000", "soon", "0", "-5", "9" * 5000)
        }
        assert [answer.status_code for answer in given.values()] == [503, 200, 400, 400, 400, 400]
        assert given["1"].headers["retry-after"] == "1"
        assert "X-Request-Timeout-Ms" in given["soon"].json()["detail"]
        over_v2 = post_again(
            f"{service.url}/v2/models/mnist-mlp/infer",
            content=digits.images[0].tobytes(),
            headers={"x-request-timeout-ms": "1", "inference-header-content-length": "0"},
        )
        assert (over_v2.status_code, list(over_v2.json()), over_v2.headers["retry-after"]) == (503, ["error"], "1")
        # The prediction was no run, and decoded nothing.
        text = httpx.get(f"{service.url}/metrics").text
        assert 'mnist_stage_duration_seconds_count{stage="decode"} 1.0' in text
        assert 'mnist_shed_requests_total{reason="overloaded"} 2.0' in text


def test_a_body_that_comes_after_its_time_is_504(slow: Service, digits: Digits) -> None:
    """The time that a client gives begins with its request's head: a body that comes later is not decoded."""

    async def late() -> bytes:
        host, port = slow.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = digits.images[0].tobytes()
        lines = [
            "POST /predict HTTP/1.1", "Host: x", f"Content-Type: {PIXELS}", "X-Request-Timeout-Ms: 50",
            f"Content-Length: {len(body)}", "Connection: close",
        ]  # fmt: skip
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await asyncio.sleep(0.5)
        writer.write(body)
        answer = await reader.read()
        writer.close()
        return answer

    before = shed(slow, "deadline_exceeded")
    answer = asyncio.run(late())
    assert answer.startswith(b"HTTP/1.1 504")
    assert b'"reason":"deadline_exceeded"' in answer
    assert shed(slow, "deadline_exceeded") == before + 1


def test_a_run_that_is_under_way_counts(slow: Service, digits: Digits) -> None:
    """A request that would wait for a long run is refused while it runs, not after it."""

    async def ask() -> bool:
        async with connect(slow) as client:
            busy = asyncio.ensure_future(post(client, digits.images[:2048].tobytes()))
            asked: list[asyncio.Task[Answer]] = []
            # Some come before the run begins, and are answered behind it: none waits for another.
            while not any(task.done() and task.result().status == 503 for task in asked) and not busy.done():
                body = digits.images[:1].tobytes()
                asked.append(asyncio.create_task(post(client, body, **{"x-request-timeout-ms": "100"})))
                await asyncio.sleep(0.01)
            at_once = not busy.done()
            assert (await busy).status == 200
            await asyncio.gather(*asked)
            return at_once

    assert any(asyncio.run(ask()) for _ in range(10))


def test_a_small_version_takes_the_place_of_a_large_one(large: Path, tmp_path: Path, digits: Digits) -> None:
    """Meanwhile all are answered, each by the version that it names; then the costs that are told are the new ones."""
    models = tmp_path / "mnist-mlp"
    shutil.copytree(large, models)
    images = digits.images[:32]
    offline = {
        "1": Classifier.load(large, "1").predict(images[:, None]),
        "2": Classifier.load(MODELS, "2").predict(images[:, None]),
    }

    async def client_of(client: httpx.AsyncClient) -> set[str]:
        named: set[str] = set()
        while "2" not in named:
            answer = await post(client, images.tobytes())
            assert answer.status == 200
            version = httpx.Response(200, content=answer.content).json()["model"]["version"]
            assert np.abs(probabilities(answer) - offline[version]).max() < 1e-5
            named.add(version)
            if not (models / "2").exists():
                publish_committed(models, 2)
        return named

    async def all_at_once(service: Service) -> list[set[str]]:
        async with connect(service) as client:
            return await asyncio.gather(*(client_of(client) for _ in range(4)))

    with running_service(model_dir=models, model_version="latest", max_wait_seconds=60, timeout_seconds=60) as service:
        before = cost(service)
        named = asyncio.run(all_at_once(service))
        assert set.union(*named) == {"1", "2"}
        assert cost(service) < before / 2


def test_the_end_of_the_service_waits_for_a_run(large: Path, digits: Digits) -> None:
    """SIGTERM while a long run is under way in its thread: its request is answered, and the service ends well."""

    async def ask(service: Service) -> int:
        async with connect(service) as client:
            busy = await under_way(client, digits)
            service.process.send_signal(signal.SIGTERM)
            return (await busy).status

    with running_service(model_dir=large, model_version=1, max_images=2048, timeout_seconds=60) as service:
        assert asyncio.run(ask(service)) == 200
        assert service.process.wait(60) == 0


def cost(service: Service) -> float:
    """What `/metrics` says that a run for one picture costs, in seconds."""
    text = httpx.get(f"{service.url}/metrics", timeout=60).text
    return float(text.partition('mnist_batch_cost_seconds{size="1"} ')[2].partition("\n")[0])


def picture_of_paper() -> Pixels:
    """A picture that takes a while to decode, and little to send: many of them are there at once."""
    paper = np.full((2800, 2800), 255, np.uint8)
    paper[900:1900, 1300:1500] = 0
    return paper


def test_waiting_for_a_decoder_counts(digits: Digits) -> None:
    """With more large pictures than can be decoded within the limit some are refused; small ones are not."""
    body = png(picture_of_paper())

    async def burst(service: Service) -> tuple[list[int], int]:
        async with connect(service) as client, connect(service) as other:
            await client.post("/predict", content=body)  # now it knows how long one takes
            asked = [asyncio.ensure_future(client.post("/predict", content=body)) for _ in range(20)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            small = await other.post("/predict", content=png(digits.images[0]))
            return [answer.status_code for answer in await asyncio.gather(*asked)], small.status_code

    with running_service(max_wait_seconds=0.1, timeout_seconds=120) as service:
        statuses, small = asyncio.run(burst(service))
    assert set(statuses) == {200, 503}
    assert small == 200
