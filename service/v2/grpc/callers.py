"""The caller of a gRPC call, from the call's metadata and connection.

In: a call's context. Out: its headers, request id and address. Two values of a single-value header are an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import Malformed
from .sockets import Peer, peer_of

if TYPE_CHECKING:
    from ...observability.requests import Observer

REQUEST_ID = "x-request-id"
SINGLE = (REQUEST_ID, "x-api-key", "authorization")


class Caller(NamedTuple):
    """The caller of one call."""

    headers: list[tuple[bytes, bytes]]
    request_id: bytes
    peer: Peer
    doubled: str | None  # a single-value header with several values

    def check(self) -> None:
        """Check the headers; raises `Malformed` if one is ambiguous."""
        if self.doubled is not None:
            raise Malformed(f"The metadata contains {self.doubled} more than once.")


def caller_of(context: Any, observer: Observer) -> Caller:
    """Return the caller; its request id is sent at the end of the call."""
    metadata = context.invocation_metadata()
    headers = [(name.encode(), value.encode()) for name, value in metadata if isinstance(value, str)]
    names = [name for name, _ in metadata]
    request_id = observer.request_id(headers)
    context.set_trailing_metadata(((REQUEST_ID, request_id.decode()),))
    doubled = next((name for name in SINGLE if names.count(name) > 1), None)
    return Caller(headers, request_id, peer_of(context.peer()), doubled)
