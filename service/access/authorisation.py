"""Who may ask what: API keys on requests, where a file of keys is set.

In: a request's headers, and the scope that its route asks for. Out: nothing, or `Unauthorized`, `Forbidden` or
`RateLimited`. It knows headers, and neither HTTP nor gRPC; a key is in no message, log or metric, its name is.
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
    from ..settings import Settings
    from .keys import Entry

    Headers = Iterable[tuple[bytes, bytes]]

PREFIX = 8  # bytes of a digest that find an entry; all of it is then compared in constant time
MODEL = "/v2/models/{model}"
# Probes have no keys. The pages' files tell nothing; what they ask needs a key, which a proxy may add.
PUBLIC_ROUTES = frozenset(
    {"/", "/docs", "/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"}
    | {f"{MODEL}/ready", f"{MODEL}/versions/{{version}}/ready"}
)


class Holder:
    """The holder of a key, and the tokens of its bucket: as many as come in a second, and one at least."""

    def __init__(self, entry: Entry, metrics: Metrics) -> None:
        self.entry = entry
        self.counts = metrics.keys.of_key(entry.name)
        self._tokens = self._size = max(1.0, entry.rate or 1.0)
        self._since = time.monotonic()

    def consume_token(self) -> bool:
        """Counts a request that is let in; False where there is no token for it."""
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
        """Whole seconds until there is a token again."""
        return max(1, math.ceil((1 - self._tokens) / (self.entry.rate or 1)))


class Access:
    """The keys of one file."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self._metrics = metrics
        self._holders: dict[bytes, Holder] = {}
        self.file = KeysFile(path, metrics, self._change)

    def admit(self, headers: Headers, scope: str) -> None:
        """Lets a request in, or says why not."""
        holder = self._find(headers)
        if holder is None:
            raise self._unauthorized(headers)
        entry = holder.entry
        if scope not in entry.scopes:
            holder.counts["forbidden"].inc()
            raise Forbidden(f"The key of {entry.name} is for {', '.join(sorted(entry.scopes))}; this asks for {scope}.")
        if not holder.consume_token():
            holder.counts["limited"].inc()
            raise RateLimited(
                f"The key of {entry.name} has {entry.rate:g} requests a second.",
                limit=entry.rate or 0,
                retry_after_s=holder.wait_s(),
            )

    def fits(self, headers: Headers, scope: str) -> bool:
        """Whether a key is there and for this, which counts nothing."""
        holder = self._find(headers)
        return holder is not None and scope in holder.entry.scopes

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
        return Unauthorized("The API key is none that is known here.", challenge=', error="invalid_token"')

    def _change(self, entries: list[Entry]) -> None:
        """These are the keys from now on."""
        known = {holder.entry: holder for holder in self._holders.values()}  # these keep what is in their buckets
        self._holders = {entry.digest[:PREFIX]: known.get(entry) or Holder(entry, self._metrics) for entry in entries}

    def guard(self) -> Callable[..., Awaitable[None]]:
        """A dependency of all routes, before any of a body is read."""

        async def check(
            request: Request,
            _bearer: object = Security(HTTPBearer(auto_error=False)),  # these two are for OpenAPI
            _header: object = Security(APIKeyHeader(name="X-API-Key", auto_error=False)),
        ) -> None:
            scope = scope_of(request.scope["route"].path)
            if scope is not None:
                self.admit(request.scope["headers"], scope)

        return check


def scope_of(route: str) -> str | None:
    """The scope that a route asks for; None: it is open."""
    if route in PUBLIC_ROUTES:
        return None
    if route == "/metrics":
        return "metrics"
    return "admin" if route.startswith("/v2/repository/models/") else "infer"


def require_admin(settings: Settings) -> None:
    """Raise `Forbidden` unless clients may load and unload models; with API keys, the scope `admin` decides before."""
    if not settings.admin and settings.api_keys_file is None:
        raise Forbidden("models are not loaded or unloaded by clients here; MNIST_ADMIN=true lets them")


def _presented(headers: Headers) -> bytes | None:
    """The key in the headers: a gateway may use Authorization for itself, so X-API-Key comes first."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip()
    return bearer
