"""Export the spans of requests with OpenTelemetry's SDK, over OTLP and HTTP.

In: records of sampled requests, at their end. Out: a span for each request and one for each of its stages, which a
thread sends; or the number of spans that are lost because the collector is slow or away. A request never waits for it.
The library is an extra: only a service that exports traces imports this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from .tracing import ENDPOINTS, shown, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .record import Record, Request, Span
    from .tracing import Sampler

    Headers = Iterable[tuple[bytes, bytes]]

    Attributes = dict[str, str | int | list[str]]

NAME = "mnist-mlp"
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
MAX_VALUE = 256  # characters of a value that a client sends
MAX_FLUSH_SECONDS = 5.0
LOG_SECONDS = 60.0  # between two lines about lost spans
PORTS = {"http": 80, "https": 443}
OTHER = "other"  # in the place of a method or a route that does not exist
UNNAMED = "unknown_service"  # begins the SDK's own name of a service

log = logging.getLogger("service")


class Exporter(SpanExporter):
    """OTLP over HTTP; it counts the spans that it has taken, and those that nobody has received."""

    def __init__(self, on_lost: Callable[[int], object]) -> None:
        self.taken = 0
        self._on_lost = on_lost
        self._otlp = OTLPSpanExporter()
        self._logged = -LOG_SECONDS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, within OTEL_EXPORTER_OTLP_TIMEOUT."""
        result = SpanExportResult.FAILURE
        try:
            result = self._otlp.export(spans)
        finally:
            self.taken += len(spans)
            if result is not SpanExportResult.SUCCESS:
                self._on_lost(len(spans))
                self._log()
        return result

    def _log(self) -> None:
        now = time.monotonic()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.warning("spans are lost: %s does not take them", _endpoint())

    def shutdown(self) -> None:
        """End a retry that is under way."""
        self._otlp.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's interface
        """Do nothing: no span waits here."""
        return True


class Spans:
    """The spans of one process."""

    def __init__(self, sampler: Sampler, on_lost: Callable[[int], object], *, scheme: str, version: str) -> None:
        """`on_lost` is called with numbers of spans, from any thread; `scheme` is that of the service's URL."""
        self.sample = sampler.sample
        self._on_lost = on_lost
        self._scheme = scheme
        self._scope = InstrumentationScope(NAME, version)
        self._resource = _resource(version)
        self._exporter = Exporter(on_lost)
        limits = waiting(os.environ)
        self._max_waiting = limits.queue
        self._processor = BatchSpanProcessor(self._exporter, limits.queue, limits.milliseconds, limits.batch)
        self._given = 0
        # From now on the SDK would write lines for each batch and each try.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def add(self, record: Record, span: Span, request: Request, headers: Headers) -> None:
        """Export the spans of a request that ends now."""
        count = 1 + len(record.stages)
        if self._given - self._exporter.taken + count > self._max_waiting:
            self._on_lost(count)
            return
        self._given += count
        zero = time.time_ns() - _nanoseconds(time.perf_counter())  # of the clock that took the times
        state = TraceState(span.parent.state) if span.parent else TraceState()
        context = SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=SAMPLED, trace_state=state)
        parent = None
        if span.parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if span.parent.sampled else TraceFlags.DEFAULT)
            parent = SpanContext(span.trace_id, span.parent.span_id, True, flags, state)
        name, attributes = _describe(record, request, dict(headers), self._scheme)
        status = Status(StatusCode.ERROR if request.status >= 500 else StatusCode.UNSET)
        times = zero + _nanoseconds(record.started), zero + _nanoseconds(record.started + request.seconds)
        self._export(name, context, parent, attributes, times, kind=SpanKind.SERVER, status=status)
        for stage, (started, ended) in record.stages.items():
            child = SpanContext(span.trace_id, random.getrandbits(64) or 1, False, SAMPLED, state)
            times = zero + _nanoseconds(started), zero + _nanoseconds(ended)
            self._export(stage, child, context, _describe_stage(stage, record), times)

    def _export(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        times: tuple[int, int],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        status: Status = Status(),  # noqa: B008 - it never changes
    ) -> None:
        # Made at once, after the request: a tracer makes each in two steps, at three times the cost.
        span = ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=status,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)

    async def close(self, seconds: float) -> None:
        """Send the spans that wait, for `seconds` at most, and end the thread."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="spans", daemon=True).start()
        try:
            async with asyncio.timeout(min(max(seconds, 0.0), MAX_FLUSH_SECONDS)):
                await done.wait()
        except TimeoutError:
            log.warning("spans are lost: %s did not take them before the end", _endpoint())
            self._exporter.shutdown()


def _resource(version: str) -> Resource:
    """Return the process as the variables OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES describe it."""
    found = Resource.create({"process.pid": os.getpid()})
    if str(found.attributes["service.name"]).startswith(UNNAMED):
        found = found.merge(Resource({"service.name": NAME}))
    return Resource({"service.version": version}).merge(found)


def _describe(record: Record, request: Request, headers: Mapping[bytes, bytes], scheme: str) -> tuple[str, Attributes]:
    """Return the name and the attributes of a request's span, by the semantic conventions."""
    host, port = _address(_text(headers.get(b"host")), scheme)
    known: dict[str, str | int | list[str] | None] = {
        "client.address": request.client,
        "server.address": host,
        "server.port": port,
        "user_agent.original": _text(headers.get(b"user-agent")),
        "http.request.body.size": record.bytes,
        "http.response.header.x-request-id": [request.request_id.decode()],
        "error.type": str(request.status) if request.status >= 500 else None,
        "mnist.key": record.key,
        "mnist.model_version": record.version,
        "mnist.digits": record.digits,
    }
    if record.grpc_code is None:
        name, own = _describe_http(record, request, scheme)
    else:
        name, own = _describe_grpc(record.grpc_code, request)
    return name, {key: value for key, value in (known | own).items() if value is not None}


def _describe_http(
    record: Record, request: Request, scheme: str
) -> tuple[str, dict[str, str | int | list[str] | None]]:
    route = None if request.route == OTHER else request.route
    method = "HTTP" if request.method == OTHER else request.method
    return method if route is None else f"{method} {route}", {
        "http.request.method": "_OTHER" if request.method == OTHER else request.method,
        "http.route": route,
        "http.response.status_code": request.status,
        "url.path": record.path[:MAX_VALUE],
        "url.scheme": scheme,
        "network.protocol.version": record.protocol,
    }


def _describe_grpc(code: str, request: Request) -> tuple[str, dict[str, str | int | list[str] | None]]:
    name = request.route.removeprefix("/")
    service, _, method = name.partition("/")
    return name, {
        "rpc.system": "grpc",
        "rpc.system.name": "grpc",  # its name in newer conventions
        "rpc.service": service,
        "rpc.method": method,
        "rpc.response.status_code": code,
    }


def _describe_stage(stage: str, record: Record) -> Attributes:
    if stage != "inference" or record.batch is None or record.version is None:
        return {}
    return {"mnist.batch_size": record.batch, "mnist.model_version": record.version}


def _text(value: bytes | None) -> str | None:
    return None if value is None else value[:MAX_VALUE].decode("latin-1")


def _address(host: str | None, scheme: str) -> tuple[str | None, int | None]:
    """Return host and port of a Host header."""
    try:
        parts = urlsplit(f"//{host or ''}")
        port = parts.port or PORTS[scheme]
    except ValueError:  # it has no such form
        return None, None
    return (parts.hostname, port) if parts.hostname else (None, None)


def _endpoint() -> str:
    """Return where the spans go, as a line of the log may say it."""
    url = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "http://localhost:4318")
    return shown(url)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
