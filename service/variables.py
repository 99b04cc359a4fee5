"""Variables of the environment: whether Kubernetes has set one, and which known name is almost the same.

In: names and values of variables, and the names that are known. Out: true or false, and the nearest known name. It
knows no setting.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What Kubernetes sets in each container for each Service beside it, here for those called mnist and mnist-….
OF_SERVICE = re.compile(r"MNIST(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
ADDRESS = re.compile(r"(tcp|udp|sctp)://")  # begins the value of MNIST_PORT and MNIST_…_PORT then
MAX_EDITS = 2  # in a name that is taken for a misspelled one


def is_of_kubernetes(name: str, value: str | None) -> bool:
    """Return whether Kubernetes sets a variable for a Service: MNIST_PORT=tcp://10.0.0.1:80, MNIST_SERVICE_HOST, …"""
    name = name.upper()
    is_address = name.endswith("_PORT") and ADDRESS.match(value or "") is not None
    return is_address or OF_SERVICE.fullmatch(name) is not None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name with the fewest edits to `name`; None if each has more than `MAX_EDITS`."""
    similar = (other for other in known if abs(len(other) - len(name)) <= MAX_EDITS)
    edits, other = min(((_edits(name, other), other) for other in similar), default=(MAX_EDITS + 1, None))
    return other if edits <= MAX_EDITS else None


def _edits(one: str, other: str) -> int:
    """Return how many letters to add, drop or change to turn one word into the other (Levenshtein 1966)."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, wanted in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != wanted))
    return row[-1]
