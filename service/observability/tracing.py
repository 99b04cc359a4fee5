"""Read the standard variables of OpenTelemetry, and decide which requests are traced.

In: variables `OTEL_*`, and requests' headers. Out: whether traces are exported at all, and how many spans may wait; and
for each request its span, or None where it is not sampled. It imports no tracing library, so that a request that is not
sampled costs half a microsecond.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ..errors import SettingsError
from ..quoting import quoted, without_secrets
from . import trace_context
from .record import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EXPORTER = "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
SAMPLER, RATIO, DEFAULT_SAMPLER = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "parentbased_always_on"
PARENT_BASED = "parentbased_"
FIXED_RATIOS = {"always_on": 1.0, "always_off": 0.0}
BY_RATIO = "traceidratio"
LOW_BITS = 2**64  # the lower half of a trace id decides, so that every service decides alike


def asking(variables: Mapping[str, str]) -> str | None:
    """Return the variable that asks for traces; None where none does.

    Raises `SettingsError` for a value that asks for something else than OTLP over HTTP.
    """
    exporters = {part.strip() for part in variables.get(EXPORTER, "").split(",")} - {""}
    endpoint = next((name for name in ENDPOINTS if variables.get(name)), None)
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or not (exporters or endpoint):
        return None
    if exporters - {"otlp", "none"}:
        _refuse(EXPORTER, "otlp or none", variables)
    if "none" in exporters:
        return None
    if endpoint is not None and not variables[endpoint].startswith(("http://", "https://")):
        _refuse(endpoint, "a URL such as http://localhost:4318", variables)
    protocol = next((name for name in PROTOCOLS if variables.get(name)), None)
    if protocol is not None and variables[protocol] != PROTOCOL:
        _refuse(protocol, PROTOCOL, variables)
    _read(variables)
    waiting(variables)
    return endpoint or EXPORTER


def _refuse(name: str, expected: str, variables: Mapping[str, str]) -> NoReturn:
    raise SettingsError(f"{name}: expected {expected} (found {quoted(shown(variables[name]))})")


def shown(address: str) -> str:
    """Return where spans go, for a line of the log: without a password and a query, which may be a key."""
    return without_secrets(address.rpartition("@")[2])


class Waiting(NamedTuple):
    """Spans that wait to be sent."""

    queue: int  # at most; more are lost
    batch: int  # sent together, at most
    milliseconds: int  # between two batches


def waiting(variables: Mapping[str, str]) -> Waiting:
    """Return how many spans wait, and for how long; raises `SettingsError`."""
    queue = _number("OTEL_BSP_MAX_QUEUE_SIZE", 2048, variables)
    batch = _number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, variables)
    return Waiting(queue, min(batch, queue), _number("OTEL_BSP_SCHEDULE_DELAY", 5000, variables))


def _number(name: str, default: int, variables: Mapping[str, str]) -> int:
    text = variables.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        _refuse(name, "a whole number, 1 or more", variables)
    return int(text)


class _Choice(NamedTuple):
    """What a sampler does."""

    ratio: float  # of traces that are recorded
    follows_parent: bool  # a caller that has decided decides


def _read(variables: Mapping[str, str]) -> _Choice:
    name = variables.get(SAMPLER) or DEFAULT_SAMPLER
    follows_parent = name.startswith(PARENT_BASED)
    kind = name.removeprefix(PARENT_BASED)
    if kind in FIXED_RATIOS:
        return _Choice(FIXED_RATIOS[kind], follows_parent)
    if kind != BY_RATIO:
        known = ", ".join(prefix + each for prefix in ("", PARENT_BASED) for each in (*FIXED_RATIOS, BY_RATIO))
        _refuse(SAMPLER, f"one of {known}", variables)
    try:
        ratio = float(variables.get(RATIO) or 1)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        _refuse(RATIO, "a number from 0 to 1", variables)
    return _Choice(ratio, follows_parent)


class Sampler:
    """The sampler that the variables name; raises `SettingsError`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        choice = _read(variables)
        self._bound = round(choice.ratio * LOW_BITS)
        self._follows_parent = choice.follows_parent

    def sample(self, headers: Iterable[tuple[bytes, bytes]]) -> Span | None:
        """Return the span of a request; None where it is not sampled."""
        for name, _ in headers:
            if name == b"traceparent":
                parent = trace_context.find(headers)
                if parent is not None:
                    return self._sample_child(parent)
        trace_id = random.getrandbits(128) or 1
        return Span(trace_id, _span_id(), None) if trace_id % LOW_BITS < self._bound else None

    def _sample_child(self, parent: trace_context.Parent) -> Span | None:
        by_ratio = parent.trace_id % LOW_BITS < self._bound
        sampled = parent.sampled if self._follows_parent else by_ratio
        return Span(parent.trace_id, _span_id(), parent) if sampled else None


def _span_id() -> int:
    return random.getrandbits(64) or 1
