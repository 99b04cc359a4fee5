"""What Schemathesis sends as raw pixels: whole pictures of 784 bytes, since a schema cannot say so."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

_PICTURES = st.builds(lambda count, level: bytes([level]) * (784 * count), st.integers(1, 3), st.integers(0, 255))
schemathesis.openapi.media_type("application/octet-stream", _PICTURES)
