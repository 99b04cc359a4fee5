"""Protect against other sites' web pages: check a request's host, and the origin that sent it.

In: a request's headers. Out: nothing, or `UnknownHost` or `Forbidden`. Browsers send the origin of a request; other
clients do not, and are accepted. It knows headers, and no route but the probes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import Forbidden, UnknownHost
from ..settings import DEFAULT_PORTS

if TYPE_CHECKING:
    from collections.abc import Mapping

# Probes reveal nothing to a page, and may know only an address.
PROBES = frozenset({b"/livez", b"/readyz", b"/healthz", b"/v2/health/live", b"/v2/health/ready"})
PORT = re.compile(rb":\d*$")


class AllowedHosts:
    """The hosts of a setting. They defeat DNS rebinding: a page whose own name resolves to this service asks for it."""

    def __init__(self, text: str) -> None:
        self._hosts = {_name(host.encode()) for host in text.split(",")}

    def check(self, host: bytes, url: bytes) -> None:
        """Raise `UnknownHost` for another host, except on probes."""
        if _name(host) not in self._hosts and url.partition(b"?")[0] not in PROBES:
            raise UnknownHost("This host is not served here; MNIST_ALLOWED_HOSTS lists those that are.")


def require_same_origin(headers: Mapping[str, str]) -> None:
    """Raise `Forbidden` for a request that a browser sends for a page of another origin."""
    site = headers.get("sec-fetch-site", "none").lower()
    origin = headers.get("origin")
    if site not in {"same-origin", "none"} or (origin is not None and not _is_of(origin, headers.get("host", ""))):
        raise Forbidden("Pages of other sites may not load or unload models.")


def _is_of(origin: str, host: str) -> bool:
    """Return whether an origin is that of a host; both may have the default port or not."""
    scheme, _, authority = origin.lower().partition("://")
    port = DEFAULT_PORTS.get(scheme, "")
    return authority != "" and authority.removesuffix(port) == host.lower().removesuffix(port)


def _name(host: bytes) -> bytes:
    """Return a host without its port, normalised."""
    return PORT.sub(b"", host.strip().lower()).rstrip(b".")
