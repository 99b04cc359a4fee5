"""An answer as bytes, which every driver writes: to a connection, or as an ASGI response."""

from __future__ import annotations

from typing import Final, NamedTuple

JSON: Final = ((b"content-type", b"application/json"),)


class Reply(NamedTuple):
    """Body, headers and status of one answer; whoever writes it adds content-length and x-request-id."""

    content: bytes
    headers: tuple[tuple[bytes, bytes], ...] = JSON
    status: int = 200
