"""ModelStreamInfer: requests on one stream are answered one by one, as Triton's clients and gRPC's own channel ask."""

from __future__ import annotations

import queue
import signal
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest

from service.access import keys
from service.codec import inference_pb2 as pb
from service.v2.grpc.stream import MAX_IN_FLIGHT
from tests.support.clients import facts
from tests.support.grpc import heavy, probabilities, request
from tests.support.metrics import under_way
from tests.support.pictures import SEVEN_FILE
from tests.support.service import Service, running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from service.arrays import Probabilities
    from tests.support.pictures import Digits

ROUTE = "/inference.GRPCInferenceService/ModelStreamInfer"


def stream(channel: Any, requests: Iterable[pb.ModelInferRequest | bytes], **options: Any) -> Any:
    """The answers to these requests, or bytes."""
    call = channel.stream_stream(
        ROUTE,
        request_serializer=lambda one: one if isinstance(one, bytes) else one.SerializeToString(),
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    return call(iter(requests), timeout=60, **options)


def named(name: object, digits: Digits) -> pb.ModelInferRequest:
    """A request with three digits, and this id."""
    asked = request(digits.images[:3].tobytes())
    asked.id = str(name)
    return asked


def counted(service: Service, status: int) -> float:
    """Requests on streams that were answered so."""
    series = f'mnist_http_requests_total{{code="{status}",method="POST",route="{ROUTE}"}} '
    lines = httpx.get(f"{service.url}/metrics").text.splitlines()
    return sum(float(line.removeprefix(series)) for line in lines if line.startswith(series))


@pytest.fixture(scope="module")
def triton(grpc_service: Service, some: Path) -> dict[str, Any]:
    """What Triton's clients were told."""
    return facts("triton_stream", grpc_service.grpc, str(some), str(SEVEN_FILE))


@pytest.mark.parametrize("client", ["in_threads", "in_asyncio"])
def test_triton_gets_an_answer_for_each_request_in_their_order(
    triton: dict[str, Any], offline: Probabilities, client: str
) -> None:
    """Each has its request's id, the offline probabilities, and is the last for its request; refusals end nothing."""
    assert ["error" in one for one in triton[client]].count(True) == 2
    assert triton[client][3]["error"].startswith("unknown model: other")
    assert triton[client][7]["error"] == "65 pictures were sent; the limit is 64 in one request."
    *answers, picture = [one for one in triton[client] if "error" not in one]
    assert picture["id"] == "picture"
    assert np.argmax(picture["probabilities"]) == 7
    assert [one["id"] for one in answers] == [str(number) for number in range(20)]
    assert all(one["final"] for one in answers)
    assert np.abs(np.array([one["probabilities"] for one in answers]) - offline).max() < 1e-6


def test_a_streams_deadline_ends_it(triton: dict[str, Any]) -> None:
    """Triton's client raises what gRPC says."""
    assert triton["over_its_deadline"]["status"] == "StatusCode.DEADLINE_EXCEEDED"


def test_what_is_refused_keeps_its_id_and_the_stream(channel: Any, grpc_service: Service, digits: Digits) -> None:
    """A wrong request, bytes that are no message, and a good request: two sentences, an answer, and each is counted."""
    before = [counted(grpc_service, status) for status in (200, 400)]
    wrong = named("wrong", digits)
    wrong.inputs[0].name = "x"
    first, second, third = stream(channel, [wrong, b"\xff\xff", named("good", digits)])
    assert (first.infer_response.id, first.error_message) == (
        "wrong",
        "unexpected inference input 'x': the model's input is 'images'.",
    )
    assert second.error_message == "the 2 bytes are no message of the type inference.ModelInferRequest."
    assert (third.infer_response.id, third.error_message) == ("good", "")
    assert [counted(grpc_service, status) for status in (200, 400)] == [before[0] + 1, before[1] + 2]


def test_many_requests_at_once_are_answered_in_their_order(channel: Any, grpc_service: Service, digits: Digits) -> None:
    """Ten times as many as are answered at once: none is lost, and none overtakes another."""
    names = [str(number) for number in range(10 * MAX_IN_FLIGHT)]
    answers = list(stream(channel, (named(name, digits) for name in names)))
    assert [answer.infer_response.id for answer in answers] == names


def test_a_message_over_the_limit_ends_the_stream(channel: Any) -> None:
    """gRPC does not take it in, as from a call of its own."""
    with pytest.raises(grpc.RpcError) as refusal:
        list(stream(channel, [request(bytes(40 * 2**20))]))
    assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in refusal.value.details()


def test_the_request_id_is_echoed(channel: Any, digits: Digits) -> None:
    """In the metadata after the stream."""
    asked = stream(channel, [named("", digits)], metadata=(("x-request-id", "order-66.a"),))
    assert len(list(asked)) == 1
    assert dict(asked.trailing_metadata())["x-request-id"] == "order-66.a"


def test_keys_hold_for_a_stream_and_rates_for_each_request(tmp_path: Path, digits: Digits) -> None:
    """Without a key nothing is read from a stream; with a rate the second request is refused, and ends no stream."""
    key, line = keys.new("shop", "infer", "0.001")
    (tmp_path / "keys.txt").write_text(line)
    with (
        running_service(grpc_port=0, api_keys_file=tmp_path / "keys.txt") as service,
        grpc.insecure_channel(service.grpc) as channel,
    ):
        asked = [named(number, digits) for number in range(2)]
        with pytest.raises(grpc.RpcError) as refusal:
            list(stream(channel, asked))
        assert refusal.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert refusal.value.details().startswith("An API key is needed")
        first, second = stream(channel, asked, metadata=(("x-api-key", key),))
        assert probabilities(first.infer_response).shape == (3, 10)
        assert second.error_message == "The key of shop is limited to 0.001 requests a second."


def test_an_answer_over_its_deadline_is_given_up_and_the_stream_goes_on() -> None:
    """The service's own time is up for one request; the next one is answered."""
    wrong = request(name="x")
    with running_service(timeout_seconds=0.05, grpc_port=0) as service, grpc.insecure_channel(service.grpc) as channel:
        late, answered = stream(channel, [heavy(), wrong])
        assert late.error_message == "The response was not ready within 0.05 s."
        assert answered.error_message.startswith("unexpected inference input")


def test_a_client_that_leaves_is_counted_so() -> None:
    """What is under way on a stream that is cancelled is counted with 499, and no longer under way."""
    with running_service(grpc_port=0, timeout_seconds=60) as service, grpc.insecure_channel(service.grpc) as channel:
        asked = stream(channel, [heavy()])
        until(lambda: under_way(service), "it is not under way")
        asked.cancel()
        until(lambda: counted(service, 499) == 1, "it is not counted")
        assert not under_way(service)


def test_what_a_stream_has_asked_is_answered_at_shutdown(digits: Digits) -> None:
    """Requests that come while the process stands still, and then SIGTERM: all are answered, then the stream ends."""
    with running_service(grpc_port=0) as service, grpc.insecure_channel(service.grpc) as channel:
        more: queue.SimpleQueue[pb.ModelInferRequest | None] = queue.SimpleQueue()
        more.put(named("first", digits))
        answers = stream(channel, iter(more.get, None))
        assert next(answers).infer_response.id == "first"
        service.process.send_signal(signal.SIGSTOP)
        for number in range(20):
            more.put(named(number, digits))
        until(more.empty, "they are not sent")
        service.process.send_signal(signal.SIGTERM)
        service.process.send_signal(signal.SIGCONT)
        assert [next(answers).infer_response.id for _ in range(20)] == [str(number) for number in range(20)]
        with pytest.raises(grpc.RpcError) as end:
            next(answers)
        assert end.value.code() == grpc.StatusCode.UNAVAILABLE
        assert end.value.details() == "The service is shutting down; retry unanswered requests on another stream."
        assert service.process.wait(20) == 0
        more.put(None)
