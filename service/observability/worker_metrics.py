"""The metrics of a worker beside its requests: connections, their certificate, reader processes, log lines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .declarations import Declarations


class WorkerMetrics:
    """One worker's resources."""

    def __init__(self, declare: Declarations) -> None:
        self.connections = declare.gauge("connections", "Open HTTP connections.", over_workers="livesum")
        self.connections_cut = declare.counters(
            "connections_cut_total", "Connections that the service closed.", "reason", ("slow", "full")
        )
        self.certificate_expiry = declare.plain_gauge(
            "certificate_expiry_timestamp_seconds",
            "When the certificate of new connections expires, Unix time; NaN: there is none.",
            over_workers="livemin",
        )
        self.certificate_expiry.set(math.nan)
        self.reader_ends = declare.counters(
            "reader_ends_total", "Reader processes that ended during a job.", "reason", ("time", "lost")
        )
        # Plain counters: the thread that writes the log increments one, and the thread that sends spans the other.
        self.log_lines_dropped = declare.plain_counter("log_lines_dropped_total", "Log lines that nobody read in time.")
        self.spans_lost = declare.plain_counter("spans_lost_total", "Spans of traces that the collector did not take.")
