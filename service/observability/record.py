"""The facts of one request, for its line in the access log and for its spans.

In: what the handlers of the request find out: the times of its stages, its size, the name of the key, the version that
answers. Out: these facts, when the request ends. A record exists only for a request that is logged or traced; other
requests have None in its place. This module knows neither the log nor a tracing library.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .trace_context import Parent

    Fields = dict[str, str | int | float | None]


class Span(NamedTuple):
    """The own span of a request that is traced."""

    trace_id: int  # 128 bits
    span_id: int  # 64 bits
    parent: Parent | None  # the caller's span, of the same trace

    @property
    def trace(self) -> str:
        """The trace's id, as W3C Trace Context writes it."""
        return f"{self.trace_id:032x}"

    @property
    def id(self) -> str:
        """The span's id, as W3C Trace Context writes it."""
        return f"{self.span_id:016x}"


class Request(NamedTuple):
    """What every request has at its end."""

    method: str
    route: str
    status: int
    seconds: float
    request_id: bytes
    client: str | None

    def fields(self) -> Fields:
        """Return what its line in the log says."""
        return {
            "request_id": self.request_id.decode(),
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "ms": round(self.seconds * 1e3, 3),
            "client": self.client,
        }


class Record:
    """What a request that is logged or traced has besides; times are seconds of `time.perf_counter`."""

    def __init__(self, *, logged: bool, span: Span | None) -> None:
        self.logged = logged  # whether it gets a line
        self.started = time.perf_counter()
        self.span = span  # None: it is not traced
        self.path = ""  # without the query
        self.protocol = "1.1"  # the version of HTTP
        self.grpc_code: str | None = None  # None: it came over HTTP
        self.bytes: int | None = None  # of its body, as sent
        self.key: str | None = None  # the name of its API key
        self.version: str | None = None  # of the model, which answered or was to answer
        self.digits: int | None = None  # pictures that went to the network
        self.batch: int | None = None  # pictures in the same run
        self.stages: dict[str, tuple[float, float]] = {}  # start and end, by name

    def add_stage(self, name: str, started: float, ended: float) -> None:
        """Set the time of a stage; of a stage that is done again, the last time counts."""
        self.stages[name] = (started, ended)

    def fields(self) -> Fields:
        """Return what its line in the log says besides: all that is known."""
        known = {
            "bytes": self.bytes,
            "key": self.key,
            "version": self.version,
            "digits": self.digits,
            "batch": self.batch,
        }
        stages = {f"{name}_ms": round((ended - started) * 1e3, 3) for name, (started, ended) in self.stages.items()}
        return {**{name: value for name, value in known.items() if value is not None}, **stages}
