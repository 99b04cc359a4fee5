"""Who calls: what a call's metadata and its connection say.

In: a call's context. Out: its headers, its id and its address; which of two headers is meant, if they are not one, is
not guessed.
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
    """Who asks."""

    headers: list[tuple[bytes, bytes]]
    request_id: bytes
    peer: Peer
    doubled: str | None  # a header that is there twice, of those that have one value

    def check(self) -> None:
        """Raises `Malformed` where it could be read in two ways."""
        if self.doubled is not None:
            raise Malformed(f"{self.doubled} is there more than once in the metadata.")


def caller_of(context: Any, observer: Observer) -> Caller:
    """Whose call this is; the id is told when it ends."""
    metadata = context.invocation_metadata()
    headers = [(name.encode(), value.encode()) for name, value in metadata if isinstance(value, str)]
    names = [name for name, _ in metadata]
    request_id = observer.request_id(headers)
    context.set_trailing_metadata(((REQUEST_ID, request_id.decode()),))
    doubled = next((name for name in SINGLE if names.count(name) > 1), None)
    return Caller(headers, request_id, peer_of(context.peer()), doubled)
