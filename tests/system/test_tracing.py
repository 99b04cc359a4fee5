"""Traces: each sampled request is a span with its stages below it, a child of the caller's, whichever way it came."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from service.client import Client
from tests.support.grpc import infer, request
from tests.support.http import OCTETS
from tests.support.metrics import samples, value
from tests.support.otlp import ERROR, INTERNAL, SERVER, Receiver, Span
from tests.support.pictures import SEVEN, drawn, png
from tests.support.processes import worker_pids
from tests.support.service import ROOT, VERSION, Service, running_service, service_with_key, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALLER = "00f067aa0ba902b7"
STAGES = ("decode", "queue", "inference", "encode")
ids = (f"{number:032x}" for number in itertools.count(0xA1))


def parent(trace_id: str, *, sampled: bool = True) -> dict[str, str]:
    """The headers of a caller that has a span."""
    return {"traceparent": f"00-{trace_id}-{CALLER}-{'01' if sampled else '00'}", "tracestate": "rojo=1,congo=t61"}


def export_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    values = {"EXPORTER_OTLP_ENDPOINT": receiver.url, "BSP_SCHEDULE_DELAY": "20"} | variables
    for name, text in values.items():
        monkeypatch.setenv(f"OTEL_{name}", text)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as receiver:
        yield receiver


@pytest.fixture(scope="module", params=[(1, True), (2, True), (1, False)], ids=["one", "two", "ASGI"])
def traced(request: pytest.FixtureRequest, receiver: Receiver) -> Iterator[Service]:
    """A service that traces everything: with one worker and with two, and without the fast path."""
    workers, fast_path = request.param
    with pytest.MonkeyPatch.context() as monkeypatch:
        export_to(
            receiver,
            monkeypatch,
            EXPORTER_OTLP_COMPRESSION="gzip",
            EXPORTER_OTLP_HEADERS="api-key=secret",
            SERVICE_NAME="digits",
            RESOURCE_ATTRIBUTES="deployment.environment.name=test",
        )
        with running_service(workers=workers, fast_path=fast_path, grpc_port=0) as service:
            monkeypatch.undo()
            yield service


def check_stages(spans: dict[str, Span], name: str) -> Span:
    """Its stages lie one after the other within the request's span, whose children they are; returns that."""
    top = spans[name]
    assert set(spans) == {name, *STAGES}
    times = [top.start, *(time for stage in STAGES for time in (spans[stage].start, spans[stage].end)), top.end]
    assert times == sorted(times)
    for stage in STAGES:
        span = spans[stage]
        assert (span.parent_id, span.kind, span.status, span.state) == (top.span_id, INTERNAL, 0, top.state)
        expected = {"mnist.batch_size": top.attributes["mnist.digits"], "mnist.model_version": VERSION}
        assert span.attributes == (expected if stage == "inference" else {})
    assert top.kind == SERVER
    return top


@pytest.mark.parametrize("body", [SEVEN, png(drawn(300))], ids=["small", "reader"])
def test_a_request_is_a_child_of_its_caller(traced: Service, receiver: Receiver, body: bytes) -> None:
    """Over HTTP: the trace, the caller's span and its state; names and attributes by the semantic conventions."""
    trace_id, port = next(ids), int(traced.url.rpartition(":")[2])
    headers = parent(trace_id) | {"X-Request-ID": "mine", "User-Agent": "test/1"}
    httpx.post(f"{traced.url}/predict", content=body, headers=headers).raise_for_status()
    top = check_stages(receiver.trace(trace_id, 5), "POST /predict")
    assert (top.parent_id, top.state, top.status, top.scope) == (CALLER, "rojo=1,congo=t61", 0, "mnist-mlp")
    assert top.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "http.request.body.size": len(body),
        "http.response.header.x-request-id": ["mine"],
        "url.path": "/predict",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "server.address": "127.0.0.1",
        "server.port": port,
        "client.address": "127.0.0.1",
        "user_agent.original": "test/1",
        "mnist.model_version": VERSION,
        "mnist.digits": 1,
    }
    assert receiver.encodings == {"gzip"}
    assert receiver.headers is not None
    assert receiver.headers["api-key"] == "secret"


def test_the_client_passes_a_trace_on(traced: Service, receiver: Receiver) -> None:
    """Its program has a span, under which the service's is."""
    trace_id = next(ids)
    with Client(traced.url, traceparent=parent(trace_id)["traceparent"]) as client:
        assert client.predict(SEVEN).digit == 7
    assert receiver.trace(trace_id, 5)["POST /predict"].parent_id == CALLER


def test_a_call_over_grpc_is_a_child_of_its_caller(traced: Service, receiver: Receiver) -> None:
    """The metadata has the same two names as the headers."""
    trace_id, message = next(ids), request(bytes(3 * 784))
    with grpc.insecure_channel(traced.grpc) as channel:
        infer(channel, message, metadata=list(parent(trace_id).items()))
    top = check_stages(receiver.trace(trace_id, 5), "inference.GRPCInferenceService/ModelInfer")
    assert (top.parent_id, top.state) == (CALLER, "rojo=1,congo=t61")
    expected = {
        "rpc.system": "grpc",
        "rpc.system.name": "grpc",
        "rpc.service": "inference.GRPCInferenceService",
        "rpc.method": "ModelInfer",
        "rpc.response.status_code": "OK",
        "http.request.body.size": message.ByteSize(),
        "client.address": "127.0.0.1",
        "mnist.model_version": VERSION,
        "mnist.digits": 3,
    }
    assert expected.items() <= top.attributes.items()


def test_other_routes_and_refusals_are_spans_too(traced: Service, receiver: Receiver) -> None:
    """Without stages that they do not have; a path that is no route is not in the name, nor is a query anywhere."""
    refused, unknown, called, pixels = (next(ids) for _ in range(4))
    httpx.post(f"{traced.url}/predict", content=b"x", headers=parent(refused))
    httpx.get(f"{traced.url}/secret%ED%A0%80?key=1", headers=parent(unknown))  # no text in UTF-8
    httpx.post(
        f"{traced.url}/v2/models/mnist-mlp/infer",
        content=bytes(784),
        headers=parent(pixels) | {"Inference-Header-Content-Length": "0", "Content-Type": OCTETS},
    ).raise_for_status()
    with grpc.insecure_channel(traced.grpc) as channel, pytest.raises(grpc.RpcError):
        infer(channel, request(b"x"), metadata=list(parent(called).items()))
    span = receiver.trace(refused, 1)["POST /predict"]
    assert (span.attributes["http.response.status_code"], span.status) == (415, 0)
    assert "error.type" not in span.attributes
    span = receiver.trace(unknown, 1)["GET"]
    path = "/secret\ufffd\ufffd\ufffd"
    assert (span.attributes["url.path"], span.attributes["http.response.status_code"]) == (path, 404)
    assert "http.route" not in span.attributes
    assert "key=1" not in str(span)
    span = receiver.trace(called, 1)["inference.GRPCInferenceService/ModelInfer"]
    assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    check_stages(receiver.trace(pixels, 5), "POST /v2/models/{model}/infer")


def test_a_caller_that_does_not_sample_decides(traced: Service, receiver: Receiver) -> None:
    """Its request has no span, while a request without a caller begins a trace, and so does one with a wrong header."""
    left_out, last = next(ids), next(ids)
    httpx.post(f"{traced.url}/predict", content=SEVEN, headers=parent(left_out, sampled=False)).raise_for_status()
    for headers in ({"User-Agent": "alone"}, {"User-Agent": "wrong", "traceparent": f"00-{last}-{CALLER}-1"}):
        httpx.post(f"{traced.url}/predict", content=SEVEN, headers=headers).raise_for_status()
    httpx.post(f"{traced.url}/predict", content=SEVEN, headers=parent(last)).raise_for_status()
    receiver.trace(last, 5)

    def begun() -> list[Span]:
        agents = ("alone", "wrong")
        return [span for span in receiver.spans if span.attributes.get("user_agent.original") in agents]

    until(lambda: len(begun()) >= 2, "no trace is begun")
    assert not [span for span in receiver.spans if span.trace_id == left_out]
    assert {span.parent_id for span in begun()} == {""}
    assert len({span.trace_id for span in begun()} - {last}) == len(begun())


def test_each_worker_is_an_instance(traced: Service, receiver: Receiver) -> None:
    """The resource has the name that the variable gives, what it adds, and the process that has answered."""
    workers = worker_pids(traced) or [traced.process.pid]
    traces = [next(ids) for _ in range(30)]
    for trace_id in traces:  # each on a connection of its own
        httpx.post(f"{traced.url}/predict", content=SEVEN, headers=parent(trace_id)).raise_for_status()
    resources = [receiver.trace(trace_id, 5)["POST /predict"].resource for trace_id in traces]
    assert {found["process.pid"] for found in resources} == set(workers)
    assert len({found["service.instance.id"] for found in resources}) == len(workers)
    assert {(found["service.name"], found["deployment.environment.name"]) for found in resources} == {
        ("digits", "test")
    }
    assert {found["service.version"] for found in resources} == {json.loads(version())}


def version() -> str:
    code = "import service, json; print(json.dumps(service.__version__))"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_the_log_has_the_trace_of_a_request(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A request's line has the ids of its span; where it is not sampled, the caller's trace."""
    export_to(receiver, monkeypatch)
    with running_service(access_log=1) as service:
        sampled, left_out = next(ids), next(ids)
        for trace_id in (sampled, left_out):
            headers = parent(trace_id, sampled=trace_id == sampled) | {"X-Request-ID": "mine"}
            httpx.post(f"{service.url}/predict", content=SEVEN, headers=headers).raise_for_status()
        top = receiver.trace(sampled, 5)["POST /predict"]
    one, other = [line for line in lines(capfd) if line.get("request_id") == "mine"]
    assert (one["trace_id"], one["span_id"]) == (sampled, top.span_id)
    assert other["trace_id"] == left_out
    assert "span_id" not in other


def test_a_key_and_a_fault_are_in_the_span(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The key's name, never the key; a fault is an error in the trace, and its log line has the trace and the id."""
    export_to(receiver, monkeypatch)
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with service_with_key(tmp_path) as (service, key):
        failed = [next(ids), next(ids)]
        for trace_id, query in zip(failed, ("", "?coverage=0.99"), strict=True):
            headers = parent(trace_id) | {"X-API-Key": key}
            answer = httpx.post(f"{service.url}/predict{query}", content=SEVEN, headers=headers)
            assert answer.status_code == 500
            assert answer.headers["X-Request-ID"] == answer.json()["request_id"]
            span = next(iter(receiver.trace(trace_id, 4).values()))
            assert (span.status, span.attributes["error.type"], span.attributes["mnist.key"]) == (ERROR, "500", "shop")
            assert key not in str(span)
    told = [line for line in lines(capfd) if line["level"] == "error"]
    assert [line["trace_id"] for line in told] == failed
    assert [line["message"] for line in told] == [f"request {line['request_id']} failed" for line in told]
    assert all("spoilt" in line["exception"] for line in told)


FAULT = """\
import orjson
real = orjson.dumps
def dumps(value, *arguments, **options):
    if isinstance(value, dict) and value.keys() == {"name", "version"}:  # the model in the body of a prediction
        raise RuntimeError("spoilt")
    return real(value, *arguments, **options)
orjson.dumps = dumps
"""


def test_exemplars_lead_from_a_histogram_to_a_trace(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one worker and OpenMetrics, a bucket has the trace of its last sampled request; with several it has none."""
    export_to(receiver, monkeypatch)
    for workers in (1, 2):
        trace_id = next(ids)
        with running_service(workers=workers) as service:
            httpx.post(f"{service.url}/predict", content=SEVEN, headers=parent(trace_id)).raise_for_status()
            span = receiver.trace(trace_id, 5)["POST /predict"]
            accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
            text = httpx.get(f"{service.url}/metrics", headers=accept).text
            plain = httpx.get(f"{service.url}/metrics").text
        marks = [line for line in text.splitlines() if f'# {{span_id="{span.span_id}",trace_id="{trace_id}"}}' in line]
        names = {line.partition("{")[0] for line in marks}
        both = {"mnist_http_request_duration_seconds_bucket", "mnist_stage_duration_seconds_bucket"}
        assert names == (both if workers == 1 else set())
        assert len(marks) == (1 + len(STAGES) if workers == 1 else 0)
        assert "trace_id" not in plain


@pytest.mark.parametrize("workers", [1, 2])
def test_what_waits_is_sent_before_the_end(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """A span that was made just before SIGTERM reaches the collector."""
    export_to(receiver, monkeypatch, BSP_SCHEDULE_DELAY="3600000")
    trace_id = next(ids)
    with running_service(workers=workers) as service:
        httpx.post(f"{service.url}/predict", content=SEVEN, headers=parent(trace_id)).raise_for_status()
        assert not [span for span in receiver.spans if span.trace_id == trace_id]
        assert service.stop() == 0
    assert len([span for span in receiver.spans if span.trace_id == trace_id]) == 5


@pytest.mark.parametrize("answers", ["refused", "silent", 503])
def test_a_collector_that_is_away_loses_spans_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], answers: str | int
) -> None:
    """Requests are answered, the lost spans are counted, one line says so, and the service ends in time with code 0."""
    with Receiver().serving() as receiver:
        if answers == "silent":
            receiver.status = 200
            monkeypatch.setattr(receiver, "add", lambda *_: receiver.stopped.wait(60))
        elif answers == "refused":
            receiver.url = "http://user:password@127.0.0.1:1/?key=password"
        else:
            receiver.status = int(answers)
        limits = {"BSP_MAX_QUEUE_SIZE": "100", "BSP_MAX_EXPORT_BATCH_SIZE": "50", "EXPORTER_OTLP_TIMEOUT": "1"}
        export_to(receiver, monkeypatch, **limits)
        with running_service(shutdown_seconds=5) as service:
            for _ in range(50):
                httpx.post(f"{service.url}/predict", content=SEVEN).raise_for_status()
            until(lambda: lost(service) > 100, "no span is lost")
            assert httpx.get(f"{service.url}/readyz").status_code == 200
            assert service.stop() == 0
        receiver.stopped.set()
    told = [line for line in lines(capfd) if line["level"] != "info"]
    assert 1 <= len(told) <= 2
    assert all(line["message"].startswith("spans are lost: ") for line in told)
    assert "password" not in str(told)


def lost(service: Service) -> float:
    return value(samples(f"{service.url}/metrics"), "mnist_spans_lost_total")


HIDDEN = """\
import runpy, sys
sys.modules["opentelemetry.exporter"] = None
sys.argv[1:] = ["--port", "0"]
runpy.run_module("service", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "exporter", "expected"),
    [
        (["-c", HIDDEN], "otlp", "OpenTelemetry is not installed; pip install '.[otel]'"),
        (["-m", "service", "--port", "0"], "jaeger", "expected otlp or none (found jaeger)"),
    ],
)
def test_one_line_says_why_there_can_be_no_traces(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], exporter: str, expected: str
) -> None:
    """It names the extra, or the value: exit code 2, before anything listens."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", exporter)
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (2, f"service: OTEL_TRACES_EXPORTER: {expected}\n")
    assert ended.stdout == ""


def test_a_service_that_exports_nothing_imports_no_library() -> None:
    """Neither OpenTelemetry's SDK nor what sends its spans; FastAPI needs the API of it."""
    code = "import sys, service.app, service.__main__; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = found.stdout.split()
    assert not {"opentelemetry.sdk", "opentelemetry.exporter", "requests", "google.protobuf"}.intersection(loaded)
    assert "service.observability.tracing" in loaded
