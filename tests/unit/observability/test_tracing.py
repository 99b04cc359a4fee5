"""Which requests are traced, by OpenTelemetry's variables; a value that cannot be obeyed names its variable."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace.sampling import Decision, ParentBasedTraceIdRatio, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from service.errors import SettingsError
from service.observability.tracing import Sampler, asking, waiting

RECORDED = Decision.RECORD_AND_SAMPLE
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"}


@pytest.mark.parametrize(
    ("variables", "variable"),
    [
        ({}, None),
        ({"OTEL_SERVICE_NAME": "digits", "OTEL_TRACES_SAMPLER": "nonsense"}, None),
        (ENDPOINT, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c.example/v1/traces"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, None),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "True"}, None),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "zipkin"}, None),
    ],
)
def test_traces_are_exported_where_a_variable_asks_for_them(variables: dict[str, str], variable: str | None) -> None:
    """An endpoint, or the exporter by name; the two switches of OpenTelemetry turn them off."""
    assert asking(variables) == variable


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: expected otlp or none (found zipkin)"),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf (found grpc)",
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT: expected a URL such as http://localhost:4318 (found localhost:4318)",
        ),
        *(
            (
                {"OTEL_EXPORTER_OTLP_ENDPOINT": address},
                f"OTEL_EXPORTER_OTLP_ENDPOINT: expected a URL such as http://localhost:4318 (found host:4318{rest})",
            )
            for address, rest in (
                ("grpc://user:hunter2@host:4318", ""),
                ("user:hunt/er2@host:4318", ""),
                ("user@tenant:hunter2@host:4318/v1?key=hunter2", "/v1?…"),
            )
        ),
        (
            ENDPOINT | {"OTEL_TRACES_SAMPLER": "xray"},
            "OTEL_TRACES_SAMPLER: expected one of always_on, always_off, traceidratio, parentbased_always_on, "
            "parentbased_always_off, parentbased_traceidratio (found xray)",
        ),
        *(
            (
                ENDPOINT | {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": ratio},
                f"OTEL_TRACES_SAMPLER_ARG: expected a number from 0 to 1 (found {ratio})",
            )
            for ratio in ("1.1", "-0.1", "nan", "many")
        ),
        *(
            (ENDPOINT | {name: text}, f"{name}: expected a whole number, 1 or more (found {text})")
            for name, text in (
                ("OTEL_BSP_SCHEDULE_DELAY", "-5"),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
                ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1.5"),
            )
        ),
    ],
)
def test_a_value_that_cannot_be_obeyed_is_an_error(variables: dict[str, str], expected: str) -> None:
    """One sentence with the variable, what it may be, and what it is."""
    with pytest.raises(SettingsError) as raised:
        asking(variables)
    assert str(raised.value) == expected


def test_a_batch_is_no_larger_than_the_queue() -> None:
    """A small queue needs no second variable."""
    assert waiting({}) == (2048, 512, 5000)
    assert waiting({"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_SCHEDULE_DELAY": "20"}) == (100, 100, 20)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5, 1.0])
@pytest.mark.parametrize("follows_parent", [True, False])
def test_a_caller_decides_as_in_opentelemetry(ratio: float, follows_parent: bool) -> None:
    """For a thousand callers, sampled or not, the decision is that of the SDK's sampler."""
    name = "parentbased_" * follows_parent + "traceidratio"
    ours = Sampler({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": str(ratio)})
    theirs = ParentBasedTraceIdRatio(ratio) if follows_parent else TraceIdRatioBased(ratio)
    for number in range(1000):
        trace_id, flag = (number * 0x9E3779B97F4A7C15F39CC0605CEDC834 + 1) % 2**128, number % 2
        caller = NonRecordingSpan(SpanContext(trace_id, 7, is_remote=True, trace_flags=TraceFlags(flag)))
        sampled = theirs.should_sample(set_span_in_context(caller), trace_id, "name").decision is RECORDED
        span = ours.sample([(b"traceparent", f"00-{trace_id:032x}-{7:016x}-{flag:02x}".encode())])
        assert (span is not None) == sampled
        if span is not None:
            assert (span.trace_id, span.parent and span.parent.span_id) == (trace_id, 7)
            assert span.span_id not in {0, 7}


@pytest.mark.parametrize(("name", "ratio", "lowest", "highest"), [
    ("always_on", "", 4000, 4000),
    ("parentbased_always_on", "", 4000, 4000),
    ("always_off", "", 0, 0),
    ("parentbased_always_off", "", 0, 0),
    ("traceidratio", "0.25", 800, 1200),
    ("parentbased_traceidratio", "0.25", 800, 1200),
    ("parentbased_traceidratio", "", 4000, 4000),
    ("", "", 4000, 4000),
])  # fmt: skip
def test_requests_without_a_caller_are_sampled_by_their_trace_ids(
    name: str, ratio: str, lowest: int, highest: int
) -> None:
    """The share of 4,000 requests, and a new trace for each; a traceparent that is wrong counts as none."""
    sampler = Sampler({"OTEL_TRACES_SAMPLER": name, "OTEL_TRACES_SAMPLER_ARG": ratio})
    spans = [sampler.sample([(b"host", b"x"), (b"traceparent", b"00-none-01")]) for _ in range(4000)]
    sampled = [span for span in spans if span is not None]
    assert lowest <= len(sampled) <= highest
    assert len({span.trace_id for span in sampled}) == len(sampled)
    assert {span.parent for span in sampled} <= {None}
    by_theirs = TraceIdRatioBased(float(ratio or 1))
    assert all(by_theirs.should_sample(None, span.trace_id, "").decision is RECORDED for span in sampled)
