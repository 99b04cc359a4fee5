"""Read the headers traceparent and tracestate: W3C Trace Context, level 1.

In: a request's headers. Out: the caller's span, or None where the headers name none, or break the grammar. It knows no
tracing library.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# version, trace id, parent id, flags; a version after 00 may go on behind another dash.
PARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 1  # the flag that says whether the caller records its span
MAX_MEMBERS = 32
MAX_STATE = 512  # characters; over it, long members are dropped first, then the last ones
LONG_MEMBER = 128
_NAME = "[a-z0-9_*/-]"
MEMBER = re.compile(
    rf"((?:[a-z]{_NAME}{{0,255}}|[a-z0-9]{_NAME}{{0,240}}@[a-z]{_NAME}{{0,13}}))"
    r"=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])"
)

State = tuple[tuple[str, str], ...]  # the members of tracestate: their keys and values


class Parent(NamedTuple):
    """The caller's span."""

    trace_id: int  # 128 bits
    span_id: int  # 64 bits
    sampled: bool
    state: State


def find(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """Return the caller's span; names of headers are in lower case."""
    parents, states = [], []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value)
        elif name == b"tracestate":
            states.append(value)
    if len(parents) != 1:
        return None
    match = PARENT.fullmatch(parents[0].strip(b" \t"))
    if match is None or (match[1] == b"00" and match[5] is not None):
        return None
    return Parent(int(match[2], 16), int(match[3], 16), bool(int(match[4], 16) & SAMPLED), parse_state(states))


def trace_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return the trace id of the caller's span, as hexadecimal digits."""
    parent = find(headers)
    return None if parent is None else f"{parent.trace_id:032x}"


def parse_state(values: Iterable[bytes]) -> State:
    """Parse the values of all tracestate headers; the first of equal keys counts, a wrong member spoils all."""
    texts = [text.strip(" \t") for value in values for text in value.decode("latin-1").split(",")]
    texts = [text for text in texts if text]
    if len(texts) > MAX_MEMBERS:
        return ()
    members: dict[str, str] = {}
    for text in texts:
        match = MEMBER.fullmatch(text)
        if match is None:
            return ()
        members.setdefault(match[1], match[2])
    return _limited(tuple(members.items()))


def _limited(members: State) -> State:
    """Return the members that may be passed on."""
    if _length(members) > MAX_STATE:
        members = tuple(member for member in members if _length((member,)) <= LONG_MEMBER)
    while _length(members) > MAX_STATE:
        members = members[:-1]
    return members


def _length(members: State) -> int:
    return sum(len(key) + len(value) + 2 for key, value in members) - 1
