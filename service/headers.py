"""Request headers that several rooms read: the deadline that a client sets, and the id that it gives."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT: Final = "X-Request-Timeout-Ms"
REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def given_id(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the id that the client gave, if it has the form of one."""
    for name, value in headers:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return value.decode()
    return None
