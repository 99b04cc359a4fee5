"""The spans of a request: encoded as OpenTelemetry's SDK does, sent in batches, and lost where too many wait."""

from __future__ import annotations

import asyncio
import time

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from service.observability.record import Record, Request, Span
from service.observability.span_attributes import describe, describe_stage
from service.observability.span_exporter import SpanExporter
from service.observability.spans import encode, head
from service.observability.trace_context import Parent
from tests.support.otlp import Receiver
from tests.support.service import until

STAGES = ("decode", "queue", "inference", "encode")
HEADERS = [(b"host", b"digits.example:8000"), (b"user-agent", b"caf\xe9/1")]
TRACE = 0xA1 << 96
STATE = (("rojo", "1"), ("congo", "t61"))
CALLERS = [None, Parent(TRACE, 0xB1, True, STATE), Parent(TRACE, 0xB1, False, ())]


def a_record(span: Span, *, stages: tuple[str, ...] = STAGES) -> Record:
    """The record of one digit that was read."""
    record = Record(logged=False, span=span)
    record.path, record.bytes, record.key, record.version, record.digits, record.batch = (
        "/predict",
        300,
        "shop",
        "50",
        1,
        7,
    )
    for number, stage in enumerate(stages):
        record.add_stage(stage, record.started + number / 8, record.started + (number + 1) / 8)
    return record


@pytest.mark.parametrize("parent", CALLERS, ids=["alone", "sampled", "not sampled"])
@pytest.mark.parametrize("stages", [STAGES, ()], ids=["stages", "none"])
@pytest.mark.parametrize(("status", "grpc_code"), [(200, None), (503, None), (200, "OK")])
def test_spans_are_encoded_as_the_sdk_encodes_them(
    parent: Parent | None, stages: tuple[str, ...], status: int, grpc_code: str | None
) -> None:
    """Field by field; only the ids of the stages, which are random, and the times come from what is tested."""
    span = Span(TRACE, 0xC1, parent)
    record, request = a_record(span, stages=stages), Request("POST", "/predict", status, 0.75, b"mine", "192.0.2.1")
    record.grpc_code = grpc_code
    found = ScopeSpans.FromString(encode(record, span, request, HEADERS, "http")).spans
    state = TraceState(parent.state if parent else ())

    def context(span_id: int, *, sampled: bool = True, remote: bool = False) -> SpanContext:
        return SpanContext(TRACE, span_id, remote, TraceFlags(int(sampled)), state)

    caller = context(parent.span_id, sampled=parent.sampled, remote=True) if parent else None
    name, attributes = describe(record, request, dict(HEADERS), "http")
    expected = [
        ReadableSpan(
            name,
            context(0xC1),
            caller,
            attributes=attributes,
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if status == 503 else StatusCode.UNSET),
            start_time=found[0].start_time_unix_nano,
            end_time=found[0].end_time_unix_nano,
        ),
        *(
            ReadableSpan(
                stage,
                context(int.from_bytes(one.span_id)),
                context(0xC1),
                attributes=describe_stage(stage, record),
                start_time=one.start_time_unix_nano,
                end_time=one.end_time_unix_nano,
            )
            for stage, one in zip(stages, found[1:], strict=True)
        ),
    ]
    assert list(found) == list(encode_spans(expected).resource_spans[0].scope_spans[0].spans)
    ids = {one.span_id for one in found}
    assert len(ids) == 1 + len(stages)
    assert bytes(8) not in ids


def test_times_are_of_the_clock_on_the_wall() -> None:
    """A record has seconds of another clock, whose zero is anywhere; spans have nanoseconds since 1970."""
    span = Span(TRACE, 0xC1, None)
    record, request = a_record(span), Request("POST", "/predict", 200, 0.75, b"mine", None)
    before = time.time_ns()
    top, *stages = ScopeSpans.FromString(encode(record, span, request, HEADERS, "http")).spans
    assert abs(top.start_time_unix_nano - before) < 60e9
    times = [(one.start_time_unix_nano - top.start_time_unix_nano, one.end_time_unix_nano) for one in (top, *stages)]
    starts, ends = zip(*times, strict=True)
    eighth = 125_000_000
    assert starts == pytest.approx((0, 0, eighth, 2 * eighth, 3 * eighth), abs=1000)
    lengths = [end - top.start_time_unix_nano for end in ends]
    assert lengths == pytest.approx([6 * eighth, eighth, 2 * eighth, 3 * eighth, 4 * eighth], abs=1000)


def spans_of(trace_id: int) -> bytes:
    """The five spans of a request."""
    span = Span(trace_id, 0xC1, None)
    return encode(a_record(span), span, Request("POST", "/predict", 200, 0.75, b"mine", None), HEADERS, "http")


def test_spans_are_sent_when_a_batch_is_full_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a batch together, and those of a request never apart; what is no whole batch waits for the delay."""
    with Receiver().serving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "12")
        lost: list[int] = []
        exporter = SpanExporter(head("1"), lost.append)
        for trace_id in range(1, 4):
            exporter.add(5, spans_of(trace_id))
        receiver.trace(f"{1:032x}", 5)
        assert receiver.batches == [10]
        exporter.add(5, spans_of(4))
        asyncio.run(exporter.close(10))
    assert receiver.batches == [10, 10]
    assert [int(span.trace_id, 16) for span in receiver.spans] == [
        trace_id for trace_id in range(1, 5) for _ in range(5)
    ]
    assert not lost


def test_spans_are_lost_where_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on their way wait too; once they have arrived, there is room again."""
    with Receiver().serving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
        add = receiver.add
        monkeypatch.setattr(receiver, "add", lambda *request: receiver.stopped.wait(60) and add(*request))
        lost: list[int] = []
        exporter = SpanExporter(head("1"), lost.append)
        for trace_id in range(1, 5):
            exporter.add(5, spans_of(trace_id))
        assert lost == [5, 5]
        receiver.stopped.set()

        def has_room() -> bool:
            before = len(lost)
            exporter.add(5, spans_of(9))
            return len(lost) == before

        until(has_room, "no span is taken any more")
        asyncio.run(exporter.close(10))
    assert {int(span.trace_id, 16) for span in receiver.spans} == {1, 2, 9}
