"""Send spans over OTLP and HTTP, in batches, from a thread.

In: encoded spans. Out: requests to the collector that the variables `OTEL_*` name; or the number of spans that it has
not taken. Adding spans never waits. The library is an extra: only a service that exports traces imports this module.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .tracing import ENDPOINTS, shown, waiting

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_FLUSH_SECONDS = 5.0
LOG_SECONDS = 60.0  # between two lines about lost spans

log = logging.getLogger("service")


class SpanExporter:
    """The spans of one process that wait to be sent, and the thread that sends them."""

    def __init__(self, head: ExportTraceServiceRequest, on_lost: Callable[[int], object]) -> None:
        """`head` has the resource, the scope and no spans; `on_lost` is called with numbers of spans, by any thread."""
        self._head = head
        self._on_lost = on_lost
        # The exporter itself takes the SDK's spans alone, and encodes each of them in Python.
        self._client = OTLPSpanExporter()._client
        self._limits = waiting(os.environ)
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._added = 0  # spans, by the event loop
        self._done = 0  # spans, by the thread: sent or lost
        self._logged = -LOG_SECONDS
        self._wake = threading.Event()
        self._closing = False
        # From now on the library would write lines for each batch and each try.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def add(self, count: int, spans: bytes) -> None:
        """Send `count` spans, an encoded `ScopeSpans`, some time; they are lost where too many wait."""
        if self._added - self._done + count > self._limits.queue:
            self._on_lost(count)
            return
        self._waiting.append((count, spans))
        self._added += count
        if self._added - self._done >= self._limits.batch:
            self._wake.set()

    async def close(self, seconds: float) -> None:
        """Send the spans that wait, for `seconds` at most, and end the thread."""
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join, min(max(seconds, 0.0), MAX_FLUSH_SECONDS))
        if self._thread.is_alive():
            log.warning("spans are lost: %s did not take them before the end", _endpoint())
            self._client.shutdown()  # ends a retry

    def _run(self) -> None:
        closing = False
        while not closing:
            full = self._wake.wait(self._limits.milliseconds / 1e3)
            self._wake.clear()
            closing = self._closing
            least = 1 if closing or not full else self._limits.batch
            while self._added - self._done >= least:
                self._send()
                least = 1 if closing else self._limits.batch

    def _send(self) -> None:
        """Send one batch, within OTEL_EXPORTER_OTLP_TIMEOUT; the spans of one request stay together."""
        count, parts = self._waiting.popleft()
        encoded = [parts]
        while self._waiting and count + self._waiting[0][0] <= self._limits.batch:
            more, parts = self._waiting.popleft()
            encoded.append(parts)
            count += more
        message = ExportTraceServiceRequest()
        message.CopyFrom(self._head)
        message.resource_spans[0].scope_spans[0].MergeFromString(b"".join(encoded))
        sent = self._client.export(message.SerializeToString()).success
        self._done += count
        if not sent:
            self._on_lost(count)
            self._log()

    def _log(self) -> None:
        now = time.monotonic()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.warning("spans are lost: %s does not take them", _endpoint())


def _endpoint() -> str:
    """Return where the spans go, as a line of the log may say it."""
    url = next((os.environ[name] for name in ENDPOINTS if os.environ.get(name)), "http://localhost:4318")
    return shown(url)
