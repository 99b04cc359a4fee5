"""Numbers of a connection that several modules of this room keep to."""

from __future__ import annotations

from typing import Final

# Bytes a second that earn a body, or an answer, more time: a poor mobile line. A deadline for the whole alone would cut
# off a photograph that somebody sends from the road, and one for each piece would let a byte now and then hold a
# connection for ever.
MIN_BYTES_PER_SECOND: Final = 16_384
CONNECTION_BYTES: Final = 16_384  # that a connection takes, with what it holds uncounted
TLS_CONNECTION_BYTES: Final = 49_152
UNCOUNTED_BYTES: Final = 4096  # that a connection may hold uncounted
MAX_KNOWN_HEAD: Final = 2048  # bytes of a head that is kept for when it comes again
CLIENT_CLOSED: Final = 499  # as nginx counts requests whose client has gone
