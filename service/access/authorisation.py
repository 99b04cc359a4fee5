"""Authorise requests by API keys, where a file of keys is set.

In: a request's headers, and the scope that its route needs. Out: nothing, or `Unauthorized`, `Forbidden` or
`RateLimited`. It serves HTTP and gRPC alike. Messages, logs and metrics have a key's name, never the key.
"""

from __future__ import annotations

import hmac
import math
import time
from typing import TYPE_CHECKING

from fastapi import Request, Security  # FastAPI reads the annotations of dependencies at run time
from fastapi.security import APIKeyHeader, HTTPBearer

from ..errors import Forbidden, RateLimited, Unauthorized
from . import keys
from .keys_file import KeysFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from ..observability.metrics import Metrics
    from ..observability.record import Record
    from ..settings import Settings
    from .keys import Entry

    Headers = Iterable[tuple[bytes, bytes]]

PREFIX = 8  # of a digest, to find an entry; the whole digest is then compared in constant time
INVALID = ', error="invalid_token"'  # ends a challenge (RFC 6750)
MODEL = "/v2/models/{model}"
# Probes have no keys. The pages' files are no secret; their requests need a key.
PUBLIC_ROUTES = frozenset(
    {"/", "/learn", "/card", "/docs", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"}
    | {"/v1/models/{model}", f"{MODEL}/ready", f"{MODEL}/versions/{{version}}/ready"}
)


class Holder:
    """The holder of a key, with a token bucket: its size is the tokens of one second, and one at least."""

    def __init__(self, entry: Entry, metrics: Metrics) -> None:
        self.entry = entry
        self.counts = metrics.keys.of_key(entry.name)
        self._ends = entry.ends()
        self._tokens = self._size = max(1.0, entry.rate or 1.0)
        self._since = time.monotonic()

    def expired(self) -> bool:
        """Return whether the key's last day is over."""
        return time.time() > self._ends

    def consume_token(self) -> bool:
        """Count a request that is accepted; False where there is no token for it."""
        if self.entry.rate is not None:
            now = time.monotonic()
            self._tokens = min(self._size, self._tokens + (now - self._since) * self.entry.rate)
            self._since = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
        self.counts["accepted"].inc()
        return True

    def wait_s(self) -> int:
        """Return whole seconds until there is a token again."""
        return max(1, math.ceil((1 - self._tokens) / (self.entry.rate or 1)))


class Access:
    """The keys of one file."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._metrics = metrics
        self._holders: dict[bytes, Holder] = {}
        self.file = KeysFile(path, metrics, self._change)

    def admit(self, headers: Headers, scope: str, record: Record | None) -> None:
        """Accept a request, or raise the reason for its refusal; its record gets the key's name."""
        holder = self._find(headers)
        if holder is None:
            raise self._unauthorized(headers)
        entry = holder.entry
        if record is not None:
            record.key = entry.name
        if holder.expired():
            holder.counts["expired"].inc()
            raise Unauthorized(
                f"The key of {entry.name} has expired: its last day was {entry.expires}.", challenge=INVALID
            )
        if scope not in entry.scopes:
            holder.counts["forbidden"].inc()
            raise Forbidden(f"The key of {entry.name} is for {', '.join(sorted(entry.scopes))}; this asks for {scope}.")
        if not holder.consume_token():
            holder.counts["limited"].inc()
            raise RateLimited(
                f"The key of {entry.name} is limited to {entry.rate:g} requests a second.",
                limit=entry.rate or 0,
                retry_after_s=holder.wait_s(),
            )

    def fits(self, headers: Headers, scope: str) -> bool:
        """Return whether a key with this scope is there; count nothing."""
        holder = self._find(headers)
        return holder is not None and scope in holder.entry.scopes and not holder.expired()

    def _find(self, headers: Headers) -> Holder | None:
        key = _presented(headers)
        digest = None if key is None else keys.digest(key)
        if digest is None:
            return None
        holder = self._holders.get(digest[:PREFIX])
        return holder if holder is not None and hmac.compare_digest(holder.entry.digest, digest) else None

    def _unauthorized(self, headers: Headers) -> Unauthorized:
        if _presented(headers) is None:
            self._metrics.keys.refusals["missing"].inc()
            return Unauthorized("An API key is needed; send it as Authorization: Bearer …, or as X-API-Key.")
        self._metrics.keys.refusals["unknown"].inc()
        return Unauthorized("The API key is unknown.", challenge=INVALID)

    def _change(self, entries: list[Entry]) -> None:
        """Use these keys from now on."""
        known = {holder.entry: holder for holder in self._holders.values()}  # unchanged entries keep their buckets
        self._holders = {entry.digest[:PREFIX]: known.get(entry) or Holder(entry, self._metrics) for entry in entries}

    def guard(self) -> Callable[..., Awaitable[None]]:
        """Return the dependency of all routes, which runs before a body is read."""

        async def check(
            request: Request,
            _bearer: object = Security(HTTPBearer(auto_error=False)),  # these two are for OpenAPI
            _header: object = Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
        ) -> None:
            scope = scope_of(request.scope["route"].path)
            if scope is not None:
                self.admit(request.scope["headers"], scope, request.scope["record"])

        return check


def scope_of(route: str) -> str | None:
    """Return the scope that a route needs; None where it is public."""
    if route in PUBLIC_ROUTES:
        return None
    if route == "/metrics":
        return "metrics"
    return "admin" if route.startswith("/v2/repository/models/") else "infer"


def require_admin(settings: Settings) -> None:
    """Raise `Forbidden` unless clients may load and unload models; with API keys, the scope `admin` decides before."""
    if not settings.admin and settings.api_keys_file is None:
        raise Forbidden("clients may not load or unload models; MNIST_ADMIN=true allows it")


def _presented(headers: Headers) -> bytes | None:
    """Return the key in the headers; X-API-Key comes first, because a gateway may use Authorization itself."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip()
    return bearer
