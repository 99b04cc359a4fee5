"""What a request's head may say, through `service.connection.framing`: each refusal with its sentence, and what is let
through.
"""

from __future__ import annotations

import contextlib

import pytest

from service.connection import framing
from service.errors import BadFraming, HeadTooLarge
from tests.support.hostile_bodies import NO_TARGETS

HOST = (b"host", b"x")
CHUNKED = (b"transfer-encoding", b"chunked")


def check(*headers: tuple[bytes, bytes], version: str = "1.1", method: bytes = b"POST") -> None:
    framing.check(version, method, headers, dict(headers))


def test_plain_heads_are_let_through() -> None:
    """HTTP/1.1 with a host, HTTP/1.0 without; a body in chunks, however that is written; other names twice."""
    check(HOST)
    check(HOST, version="1.0")
    check(version="1.0")
    check(HOST, CHUNKED)
    check(HOST, (b"transfer-encoding", b" CHUNKED "))
    check(HOST, (b"cookie", b"a"), (b"cookie", b"b"))
    check(HOST, *[(b"%d" % number, b"") for number in range(99)])


ONLY_CHUNKED = "Transfer-Encoding must be chunked, in HTTP/1.1 only; use Content-Encoding for gzip."
REFUSED = {
    "HTTP/2.0 is not supported; send HTTP/1.1.": lambda: check(HOST, version="2.0"),
    "HTTP/0.9 is not supported; send HTTP/1.1.": lambda: check(version="0.9"),
    "This server is not a proxy; CONNECT is not supported.": lambda: check(HOST, method=b"CONNECT"),
    "The request has more than one host header.": lambda: check(HOST, (b"a", b""), HOST),
    "The request has more than one transfer-encoding header.": lambda: check(HOST, CHUNKED, CHUNKED),
    "The request has no Host header; HTTP/1.1 requires one.": lambda: check((b"a", b"")),
    "The request's Host header is not a host and a port.": lambda: check((b"host", b"a/b")),
} | {
    f"The request has more than one {name.decode()} header.": lambda name=name: check(HOST, (name, b"a"), (name, b"a"))
    for name in sorted(framing.SINGLE - {b"host", b"transfer-encoding"})
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(sentence: str) -> None:
    """The sentence says what is wrong."""
    with pytest.raises(BadFraming) as refusal:
        REFUSED[sentence]()
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("coding", [b"gzip", b"chunked, gzip", b"identity", b"", b"xchunked"])
def test_only_chunks_are_a_transfer_encoding(coding: bytes) -> None:
    """In HTTP/1.1; HTTP/1.0 has not even these."""
    for header, version in (((b"transfer-encoding", coding), "1.1"), (CHUNKED, "1.0")):
        with pytest.raises(BadFraming) as refusal:
            check(HOST, header, version=version)
        assert str(refusal.value) == ONLY_CHUNKED


def test_a_head_has_limits() -> None:
    """A hundred headers, and 32 KiB of names, values and target: the limit itself is let through."""
    with pytest.raises(HeadTooLarge) as refusal:
        check(*[(b"%d" % number, b"") for number in range(101)])
    assert str(refusal.value) == "The request has 101 headers; the limit is 100."
    assert refusal.value.limit == 100
    framing.check_size(b"/" * 60, [(b"a" * 4, b"b" * (32768 - 70)), (b"c" * 4, b"d" * 2)])
    with pytest.raises(HeadTooLarge) as refusal:
        framing.check_size(b"/" * 60, [(b"a" * 4, b"b" * (32768 - 70)), (b"c" * 4, b"d" * 3)])
    assert str(refusal.value) == "The request's head has more than 32,768 bytes, which is the limit."
    assert refusal.value.limit == 32768


@pytest.mark.parametrize("host", [b"", b"a_b.example", b"127.0.0.1:8000", b"[::1]", b"[fe80::1%25eth0]:65535", b"x:"])
def test_a_host_is_a_name_or_an_address_maybe_with_a_port(host: bytes) -> None:
    """As RFC 3986 has it; it may be empty (RFC 9110 section 7.2)."""
    check((b"host", host))


def test_several_lines_of_a_list_are_one() -> None:
    """In their order, at the place of the first."""
    headers = [(b"accept", b"a"), HOST, (b"accept", b"b, c"), (b"accept", b"d")]
    assert framing.join(headers) == {b"accept": b"a, b, c, d", b"host": b"x"}


TARGETS = {
    b"/predict": (b"/predict", None),
    b"/predict?a=/b/%2f/": (b"/predict?a=/b/%2f/", None),
    b"/predict/": (b"/predict", None),
    b"/predict/?a/": (b"/predict?a/", None),
    b"/predict//": (b"/predict//", None),
    b"/": (b"/", None),
    b"//": (b"//", None),
    b"*": (b"*", None),
    b"http://h/": (b"/", b"h"),
    b"HTTPS://[::1]:80/predict?a": (b"/predict?a", b"[::1]:80"),
    b"http://a.b:/predict/": (b"/predict", b"a.b:"),
    b"/a%2Fb%2f%41%0a%7F%00%252f": (b"/a%252Fb%252f%41%250a%257F%2500%252f", None),
}


@pytest.mark.parametrize("url", TARGETS)
def test_a_target_is_a_path_and_maybe_a_host(url: bytes) -> None:
    """Of an http URL, its parts; without a slash at the end; an encoded slash does not become one."""
    url_, host = TARGETS[url]
    found = framing.target(url, b"OPTIONS")
    assert found == (url_, host)
    assert framing.target(found.url, b"OPTIONS").url == url_


@pytest.mark.parametrize("url", [*NO_TARGETS, b"", b"http://h/\r\nHost: y/"])
def test_what_is_no_target_is_refused(url: bytes) -> None:
    """With what is wrong."""
    with pytest.raises(BadFraming, match="The request's target is neither a path nor an http URL"):
        framing.target(url, b"GET")


def test_a_long_target_is_read_in_no_time() -> None:
    """32 KiB of whatever could make a pattern go back and forth."""
    for piece in (b"/", b"/a", b"a", b"/%2f", b".", b":", b"[", b"/a~", b"http://", b"/a#", b"1"):
        for start in (b"", b"/", b"http://", b"http://[", b"http://h:", b"http://h/"):
            with contextlib.suppress(BadFraming):
                framing.target((start + piece * 32768)[:32768] + b"\xff", b"GET")
