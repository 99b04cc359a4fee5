"""Limits of connections that several modules share."""

from __future__ import annotations

from typing import Final

# A body or response at this rate, a poor mobile line, gets more time. A fixed deadline would cut off a photograph sent
# over such a line; a timeout between pieces would let single bytes hold a connection for ever.
MIN_BYTES_PER_SECOND: Final = 16_384
CONNECTION_BYTES: Final = 16_384  # cost of a connection, with its uncounted bytes
TLS_CONNECTION_BYTES: Final = 49_152
UNCOUNTED_BYTES: Final = 4096  # a connection may hold these without counting them
MAX_KNOWN_HEAD_BYTES: Final = 2048  # a larger head is parsed again each time
CLIENT_CLOSED: Final = 499  # nginx's status of a request whose client has closed the connection
