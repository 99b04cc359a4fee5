"""Memory that a process has freed and its C library keeps: given back to the system.

In: nothing. Out: nothing; glibc gives back what it has, other C libraries keep little. It takes some milliseconds.
"""

from __future__ import annotations

import ctypes

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Give back what no object uses any more."""
    if _TRIM is not None:
        _TRIM(0)
