"""Name the spans of requests, and give their attributes, by OpenTelemetry's semantic conventions.

In: a request that has ended, with its record and its headers. Out: a name, and attributes. It knows no tracing library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .record import Record, Request

    Attributes = dict[str, str | int | list[str]]
    Known = dict[str, str | int | list[str] | None]

MAX_VALUE = 256  # characters of a value that a client sends
PORTS = {"http": 80, "https": 443}
OTHER = "other"  # in the place of a method or a route that does not exist


def describe(record: Record, request: Request, headers: Mapping[bytes, bytes], scheme: str) -> tuple[str, Attributes]:
    """Return the name and the attributes of a request's span; `scheme` is that of the service's URL."""
    host, port = _address(_text(headers.get(b"host")), scheme)
    known: Known = {
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


def describe_stage(stage: str, record: Record) -> Attributes:
    """Return the attributes of the span of a stage, which is called as the stage is."""
    if stage != "inference" or record.batch is None or record.version is None:
        return {}
    return {"mnist.batch_size": record.batch, "mnist.model_version": record.version}


def _describe_http(record: Record, request: Request, scheme: str) -> tuple[str, Known]:
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


def _describe_grpc(code: str, request: Request) -> tuple[str, Known]:
    name = request.route.removeprefix("/")
    service, _, method = name.partition("/")
    return name, {
        "rpc.system": "grpc",
        "rpc.system.name": "grpc",  # its name in newer conventions
        "rpc.service": service,
        "rpc.method": method,
        "rpc.response.status_code": code,
    }


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
