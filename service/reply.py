"""A response as bytes, which a driver writes to a connection or returns as an ASGI response."""

from __future__ import annotations

from typing import Final, NamedTuple

JSON: Final = ((b"content-type", b"application/json"),)


class Reply(NamedTuple):
    """Body, headers and status of one response; its writer adds content-length and x-request-id."""

    content: bytes
    headers: tuple[tuple[bytes, bytes], ...] = JSON
    status: int = 200
