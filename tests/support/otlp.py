"""A receiver of OTLP over HTTP, as a collector is: it decodes with the protocol's own messages, and keeps the spans."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.support.service import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

SERVER, INTERNAL = 2, 1  # kinds of spans
ERROR = 2  # a span's status


@dataclass
class Span:
    """A span as it was received."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str  # empty without a parent
    state: str
    kind: int
    status: int
    start: int  # nanoseconds since 1970
    end: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: str


class Receiver:
    """What was sent to it; `status` is what it answers."""

    def __init__(self, port: int = 0) -> None:
        self.spans: list[Span] = []
        self.encodings: set[str] = set()
        self.headers: Message | None = None  # of the last request
        self.batches: list[int] = []  # the number of spans in each request
        self.status = 200
        self.stopped = threading.Event()  # ends what waits
        self._new = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.headers = self.headers
                receiver.add(self.path, self.headers.get("Content-Encoding", ""), body)
                answer = ExportTraceServiceResponse().SerializeToString()
                with contextlib.suppress(ConnectionError):  # it waits no longer
                    self.send_response(receiver.status)
                    self.send_header("Content-Type", "application/x-protobuf")
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, path: str, encoding: str, body: bytes) -> None:
        assert path == "/v1/traces"
        message = ExportTraceServiceRequest.FromString(gzip.decompress(body) if encoding == "gzip" else body)
        with self._new:
            self.encodings.add(encoding)
            if self.status == 200:
                spans = list(_spans(message))
                self.batches.append(len(spans))
                self.spans += spans
            self._new.notify_all()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def trace(self, trace_id: str, count: int) -> dict[str, Span]:
        """The spans of a trace by their names, once there are so many."""
        deadline = time.monotonic() + PATIENCE
        with self._new:
            while True:
                found = [span for span in self.spans if span.trace_id == trace_id]
                if len(found) >= count:
                    assert len(found) == count, found
                    return {span.name: span for span in found}
                assert self._new.wait(deadline - time.monotonic()), f"{len(found)} spans, not {count}: {found}"


def _spans(message: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in message.resource_spans:
        about = _values(resource.resource.attributes)
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.trace_state,
                    span.kind,
                    span.status.code,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _values(span.attributes),
                    about,
                    scope.scope.name,
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)
