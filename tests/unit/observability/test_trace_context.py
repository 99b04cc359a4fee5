"""traceparent and tracestate are read by the grammar of W3C Trace Context, level 1: what breaks it names no span."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.observability.trace_context import MAX_STATE, find

TRACE, SPAN = "12345678901234567890123456789012", "1234567890123456"
GOOD = f"00-{TRACE}-{SPAN}-01"


def read(*parents: str, state: tuple[str, ...] = ()) -> object:
    headers = [(b"traceparent", parent.encode("latin-1")) for parent in parents]
    return find([(b"host", b"x"), *headers, *((b"tracestate", text.encode("latin-1")) for text in state)])


def state_of(*texts: str) -> str:
    found = find([(b"traceparent", GOOD.encode()), *((b"tracestate", text.encode()) for text in texts)])
    assert found is not None
    return ",".join(f"{key}={value}" for key, value in found.state)


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f" {GOOD}\t", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", True),
    ],
)
def test_a_good_parent_is_read(text: str, sampled: bool) -> None:
    """Its ids and its flag, also of a later version."""
    found = find([(b"traceparent", text.encode())])
    assert found is not None
    assert (found.trace_id, found.span_id, found.sampled) == (int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"{GOOD}.",
        f"{GOOD}-what-the-future-will-be-like",
        f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like",
        f"ff-{TRACE}-{SPAN}-01",
        f".0-{TRACE}-{SPAN}-01",
        f"000-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-.{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}3-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-.{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN}7-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN}-.0",
        f"00-{TRACE}-{SPAN}-001",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{'A' * 32}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00_{TRACE}_{SPAN}_01",
        f"{GOOD}, {GOOD}",  # two headers, as the fast path joins them
        GOOD.replace("1", "\u0661"),
    ],
)
def test_a_wrong_parent_names_no_span(text: str) -> None:
    """The cases of W3C's own tests, and digits that are not ASCII's."""
    assert find([(b"traceparent", text.encode())]) is None


def test_two_parents_name_no_span() -> None:
    """Nobody can tell which one is right; nor is a state worth anything without a parent."""
    assert read(GOOD, GOOD) is None
    assert read(state=("a=1",)) is None


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (("foo=1,bar=2",), "foo=1,bar=2"),
        (("foo=1 \t , \t bar=2, \t baz=3",), "foo=1,bar=2,baz=3"),
        (("foo=1", "", "bar=2,,"), "foo=1,bar=2"),
        (("foo=1,foo=2",), "foo=1"),
        (("t61rcwkgmze@rojo=00f067aa",), "t61rcwkgmze@rojo=00f067aa"),
        (("0@a=1",), "0@a=1"),
        (("foo =1",), ""),
        (("FOO=1",), ""),
        (("foo.bar=1",), ""),
        (("0foo=1",), ""),
        (("foo@=1,bar=2",), ""),
        (("@foo=1,bar=2",), ""),
        (("foo=",), ""),
        (("foo=a=b",), ""),
        (("foo=bar\x01",), ""),
        ((f"{'z' * 257}=1",), ""),
        ((f"{'t' * 242}@v=1",), ""),
        ((f"t@{'v' * 15}=1",), ""),
        ((f"foo={'v' * 257}",), ""),
        ((",".join(f"bar{i:02}={i:02}" for i in range(32)),), ",".join(f"bar{i:02}={i:02}" for i in range(32))),
        ((",".join(f"bar{i:02}={i:02}" for i in range(33)),), ""),
    ],
)
def test_a_state_is_passed_on_whole_or_not_at_all(texts: tuple[str, ...], kept: str) -> None:
    """Its members keep their order over several headers; one that breaks the grammar spoils all."""
    assert state_of(*texts) == kept


def test_a_long_state_loses_long_members_first_then_the_last() -> None:
    """At most 512 characters are passed on, in whole members, as the recommendation orders them."""
    long = f"long={'x' * 200}"
    short = [f"k{i}={'y' * 60}" for i in range(9)]
    found = state_of(",".join([short[0], long, *short[1:]]))
    assert found == ",".join(short[: (MAX_STATE + 1) // (len(short[0]) + 1)])
    assert len(state_of(f"a={'x' * 250},b={'x' * 250}")) == 2 * 252 + 1


LETTERS = [*"0123456789abcdef", "-", "", "A", "."]
CHANGED = st.builds(
    lambda text, at, letter: text[:at] + letter + text[at + 1 :],
    st.sampled_from([GOOD, f"cc{GOOD[2:]}"]),
    st.integers(0, len(GOOD) - 1),
    st.sampled_from(LETTERS),
)
FORMED = st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True)


@given(CHANGED | FORMED)
def test_it_reads_what_opentelemetry_reads(text: str) -> None:
    """Their propagator and ours agree on good headers, and on those with one other letter."""
    theirs = trace.get_current_span(TraceContextTextMapPropagator().extract({"traceparent": text})).get_span_context()
    ours = find([(b"traceparent", text.encode())])
    assert (ours is not None) == theirs.is_valid
    if ours is not None:
        assert ours[:3] == (theirs.trace_id, theirs.span_id, theirs.trace_flags.sampled)
