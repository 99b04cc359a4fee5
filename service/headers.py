"""Request headers that several rooms read: the client's deadline, and its request id."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT: Final = "X-Request-Timeout-Ms"
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def given_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the client's request id; None if it is absent or invalid."""
    for name, value in headers:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return value.decode()
    return None
