"""gRPC: the Open Inference Protocol and health, asked by Triton's and KServe's clients, and with gRPC's own channel."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service import errors
from service.codec import inference_pb2 as pb
from service.v2.grpc.codes import CODES
from tests.support.clients import facts
from tests.support.grpc import INFER, MODEL, heavy, infer, method, probabilities, request
from tests.support.metrics import under_way
from tests.support.pictures import SEVEN, SEVEN_FILE, Digits, png
from tests.support.service import MODELS, ROOT, VERSION, Service, running_service, until

if TYPE_CHECKING:
    from service.arrays import Probabilities

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def triton(some: Path) -> dict[str, Any]:
    """What Triton's clients found, asking a service of two workers; and what its metrics then say."""
    with running_service(workers=2, grpc_port=0) as service:
        found = facts("triton_grpc", service.grpc, str(some), str(SEVEN_FILE))
        return found | {"metrics": httpx.get(f"{service.url}/metrics").text}


def test_triton_learns_what_is_served(triton: dict[str, Any]) -> None:
    """Health, metadata, configuration and repository, as Triton's client asks for them."""
    assert triton["live"]
    assert triton["ready"]
    assert "statistics" in triton["server"]["extensions"]
    assert triton["metadata"]["versions"] == [VERSION]
    assert triton["metadata"]["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": ["-1", "1", "28", "28"]}]
    assert triton["config"]["max_batch_size"] == 64
    assert triton["config"]["input"][0]["format"] == "FORMAT_NCHW"
    assert triton["config"]["output"][0]["data_type"] == "TYPE_FP32"
    assert triton["repository"][0] == {"name": MODEL, "version": VERSION, "state": "READY"}


def test_triton_gets_the_offline_answer(triton: dict[str, Any], offline: Probabilities) -> None:
    """Compressed or not, the outputs named or not: the offline probabilities, the version and the id."""
    assert len(triton["asked"]) == 6
    for answer in triton["asked"]:
        assert np.abs(np.array(answer["probabilities"]) - offline).max() < 1e-6
        assert (answer["id"], answer["model_version"]) == ("mine", VERSION)


def test_tritons_asyncio_client(triton: dict[str, Any], offline: Probabilities) -> None:
    """Twenty requests at once through the asyncio client: each gets its own answer."""
    assert np.abs(np.array(triton["at_once"]) - offline).max() < 1e-6


def test_triton_may_ask_for_classes_and_send_pictures(triton: dict[str, Any], offline: Probabilities) -> None:
    """The classification extension, and BYTES that are PNG files: the three best digits, and two sevens."""
    rows = [[text.split(":") for text in row] for row in triton["classes"]]
    assert [int(row[0][1]) for row in rows] == offline.argmax(1).tolist()
    assert all(len(row) == 3 for row in rows)
    assert np.argmax(triton["encoded"], 1).tolist() == [7, 7]


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ("model", "NOT_FOUND", "unknown model: other"),
        ("version", "NOT_FOUND", "version 999 is not found"),
        ("batch", "INVALID_ARGUMENT", "limit is 64"),
        ("picture", "INVALID_ARGUMENT", "PNG"),
        ("unload", "PERMISSION_DENIED", "clients may not load or unload models"),
        ("trace", "UNIMPLEMENTED", ""),
        ("deadline", "DEADLINE_EXCEEDED", ""),
    ],
)
def test_tritons_errors_have_a_status_and_a_sentence(
    triton: dict[str, Any], asked: str, status: str, words: str
) -> None:
    """What Triton's client raises says what was wrong."""
    found, sentence = triton["refused"][asked]
    assert found == f"StatusCode.{status}"
    assert words in sentence


def test_triton_reads_statistics(triton: dict[str, Any]) -> None:
    """Counts and times over both workers, of calls as of requests; the metrics count each call under its path."""
    (statistics,) = triton["statistics"]
    parts = statistics["inference_stats"]
    good = 1 + 1 + 6 + 20
    assert int(parts["success"]["count"]) == good
    assert int(statistics["inference_count"]) == 20 + 2 + 20 * 6 + 20
    for name in ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"):
        assert int(parts[name]["ns"]) > 0, name
    series = 'mnist_http_requests_total{code="%d",method="POST",route="' + INFER + '"} %.1f'
    assert series % (200, good) in triton["metrics"]
    assert series % (404, 1) in triton["metrics"]


def test_kserves_client(grpc_service: Service, some: Path, offline: Probabilities) -> None:
    """KServe's gRPC client: health, and the offline answer to raw and to typed contents."""
    found = facts("kserve", grpc_service.grpc, str(some))
    assert found["live"]
    assert found["ready"]
    assert found["model_ready"]
    assert len(found["asked"]) == 2
    for answer in found["asked"]:
        assert answer["id"] == "mine"
        assert np.abs(np.array(answer["probabilities"]) - offline).max() < 1e-6


def test_typed_contents_are_read_as_raw_ones_are(channel: Any, digits: Digits) -> None:
    """Pixels as uint_contents, pictures as bytes_contents: the same answers as raw."""
    pixels = digits.images[:3].tobytes()
    raw = infer(channel, request(pixels))
    typed = infer(channel, request(contents={"uint_contents": pixels}))
    assert raw == typed
    picture = {"datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": [SEVEN]}}
    assert probabilities(infer(channel, request(**picture))).argmax() == 7


ABUSE: dict[str, tuple[bytes | pb.ModelInferRequest, str]] = {
    "a message that is none": (b"\xff\xff", "no message of the type inference.ModelInferRequest"),
    "no input": (pb.ModelInferRequest(model_name=MODEL), "one input"),
    "another input": (request(name="x"), "unexpected inference input 'x'"),
    "another datatype": (request(bytes(3), datatype="FP32"), "datatype FP32"),
    "too few bytes": (request(bytes(784)), "784 numbers; its shape says 2,352"),
    "no contents": (request(), "holds 0 numbers"),
    "a negative side": (request(bytes(784), shape=[-1, 1, 28, 28]), "1 or more"),
    "a shape that overflows": (request(bytes(784), shape=[1, 2**62, 2**62, 4]), "expected [N,1,28,28]"),
    "numbers over 255": (request(contents={"uint_contents": [256] * 2352}), "from 0 to 255"),
    "raw and typed contents": (request(bytes(2352), contents={"uint_contents": [0]}), "both contents and raw"),
    "two raw tensors": (request(bytes(2352), b""), "holds 2 tensors"),
    "BYTES that break off": (request(b"\xff\0\0\0x", datatype="BYTES", shape=[1]), "fewer are left"),
    "another output": (request(bytes(2352), outputs=[{"name": "x"}]), "unexpected inference output 'x'"),
    "two outputs": (request(bytes(2352), outputs=[{"name": "probabilities"}] * 2), "one output"),
    "an empty classification": (
        request(bytes(2352), outputs=[{"name": "probabilities", "parameters": {"classification": {}}}]),
        "classification must be",
    ),
}


@pytest.mark.parametrize("case", ABUSE)
def test_abuse_is_an_invalid_argument(channel: Any, case: str) -> None:
    """Each is refused with a sentence, and the service goes on."""
    message, words = ABUSE[case]
    data = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises(grpc.RpcError) as refusal:
        channel.unary_unary(INFER)(data, timeout=60)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert words in refusal.value.details()
    assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == SERVING


def test_a_picture_without_ink_has_even_probabilities(channel: Any) -> None:
    """In its place among others, as over REST."""
    blank = png(np.full((60, 40), 255, np.uint8))
    found = probabilities(
        infer(channel, request(datatype="BYTES", shape=[2], contents={"bytes_contents": [blank, SEVEN]}))
    )
    assert found[0].tolist() == [np.float32(0.1)] * 10
    assert found[1].argmax() == 7


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused(channel: Any, compression: Any) -> None:
    """Forty megabytes of zeros, plain or as a bomb, are not taken in."""
    with pytest.raises(grpc.RpcError) as refusal:
        infer(channel, request(bytes(40 * 2**20)), compression=compression)
    assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in refusal.value.details()


def test_every_error_has_a_status() -> None:
    """Whatever a request can be refused with over HTTP has its status here."""
    assert {kind.status for kind in errors.ServiceError.__subclasses__()} <= set(CODES)


def test_the_request_id_is_echoed_or_made(channel: Any, digits: Digits) -> None:
    """In the metadata after the answer, as X-Request-ID over HTTP."""
    asked = request(digits.images[:3].tobytes())
    for sent, echoed in (((("x-request-id", "order-66.a"),), "order-66.a"), ((), None)):
        _, call = method(channel).with_call(asked, metadata=sent, timeout=60)
        found = dict(call.trailing_metadata())["x-request-id"]
        assert found == echoed or (echoed is None and "-" in found)


def test_an_answer_over_its_deadline_is_given_up(digits: Digits) -> None:
    """The service's own time is up: DEADLINE_EXCEEDED with the sentence that HTTP has, and it goes on."""
    noise = png(np.random.default_rng(0).integers(0, 255, (3000, 3000), np.uint8))
    slow = request(datatype="BYTES", shape=[1], contents={"bytes_contents": [noise]})
    with running_service(timeout_seconds=0.05, grpc_port=0) as service, grpc.insecure_channel(service.grpc) as channel:
        with pytest.raises(grpc.RpcError) as refusal:
            infer(channel, slow)
        assert refusal.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert refusal.value.details() == "The response was not ready within 0.05 s."
        assert infer(channel, request(digits.images[:3].tobytes())).model_version == VERSION
        shed = 'mnist_shed_requests_total{reason="deadline_exceeded"} 1.0'
        assert shed in httpx.get(f"{service.url}/metrics").text


def test_a_client_that_leaves_is_counted_so() -> None:
    """A call that is cancelled while it is under way is counted with 499, and no longer under way."""
    with running_service(grpc_port=0, timeout_seconds=60) as service, grpc.insecure_channel(service.grpc) as channel:
        call = method(channel).future(heavy())
        until(lambda: under_way(service), "it is not under way")
        call.cancel()
        left = f'mnist_http_requests_total{{code="499",method="POST",route="{INFER}"}} 1.0'
        until(lambda: left in httpx.get(f"{service.url}/metrics").text, "it is not counted")
        assert not under_way(service)


def test_a_call_under_way_is_answered_at_shutdown() -> None:
    """SIGTERM comes while a call is answered: it is answered, then the service ends."""
    with running_service(grpc_port=0, timeout_seconds=60) as service, grpc.insecure_channel(service.grpc) as channel:
        call = method(channel).future(heavy())
        until(lambda: under_way(service), "it is not under way")
        service.process.send_signal(signal.SIGTERM)
        assert call.result(timeout=60).outputs[0].shape == [64, 10]
        assert service.process.wait(20) == 0


def test_health_is_told_once_or_watched(channel: Any) -> None:
    """Check answers for the whole and for the service; another service's name is not found."""
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "inference.GRPCInferenceService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=60).status == SERVING
    with pytest.raises(grpc.RpcError) as refusal:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=60)
    assert refusal.value.code() == grpc.StatusCode.NOT_FOUND


def test_who_watches_health_learns_of_the_end_and_does_not_delay_it() -> None:
    """SERVING at once, NOT_SERVING at SIGTERM; then the stream ends, and the service with it."""
    with running_service(grpc_port=0) as service, grpc.insecure_channel(service.grpc) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == SERVING
        service.process.send_signal(signal.SIGTERM)
        assert [answer.status for answer in watched] == [NOT_SERVING]
        assert service.process.wait(5) == 0


def test_workers_share_the_port(digits: Digits) -> None:
    """New connections to one port reach both workers, which begin their request ids each in its own way."""
    asked = request(digits.images[:3].tobytes())
    seen: set[str] = set()

    def both_seen() -> bool:
        with grpc.insecure_channel(shared.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            _, call = method(channel).with_call(asked, timeout=60)
        seen.add(dict(call.trailing_metadata())["x-request-id"].partition("-")[0])
        return len(seen) == 2

    with running_service(workers=2, grpc_port=0) as shared:
        until(both_seen, "only one worker answers")


def listening(pid: int) -> set[str]:
    """The local addresses on which a process listens (proc(5), /proc/net/tcp: state 0A)."""
    held = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held}


@pytest.mark.parametrize(("settings", "ports"), [({}, 1), ({"grpc_port": 0}, 2)], ids=["unset", "set"])
def test_without_a_port_there_is_no_grpc(settings: dict[str, Any], ports: int) -> None:
    """Unset, the service listens on its one port and has not loaded gRPC; set, both are otherwise."""
    with running_service(**settings) as service:
        assert len(listening(service.process.pid)) == ports
        assert ("cygrpc" in Path(f"/proc/{service.process.pid}/maps").read_text()) == (ports == 2)
        assert bool(service.grpc) == (ports == 2)


def ended(*command: str) -> tuple[int, str]:
    """The exit code of a service that does not start, and what it says."""
    run = subprocess.run(
        [sys.executable, *command, "--port", "0", "--model-dir", str(MODELS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stderr


def test_a_port_without_the_extra_is_told_with_exit_code_2() -> None:
    """Where gRPC is not installed, one line says how to install it."""
    code = "import sys; sys.modules['grpc'] = None; from service.__main__ import main; sys.exit(main(sys.argv[1:]))"
    status, said = ended("-c", code, "--grpc-port", "0")
    assert status == 2
    assert said == "service: MNIST_GRPC_PORT: gRPC is not installed; pip install '.[grpc]'\n"


def test_a_port_that_another_service_has_is_told_with_exit_code_4(grpc_service: Service) -> None:
    """Although workers share a port, two services do not."""
    host, _, port = grpc_service.grpc.partition(":")
    status, said = ended("-m", "service", "--grpc-port", port)
    assert status == 4
    assert said == f"service: MNIST_GRPC_PORT: cannot listen on {host} port {port}: Address already in use\n"
    with socket.create_connection((host, int(port)), timeout=20):
        pass
