"""What a request's head may say, through `service.framing`: each refusal with its sentence, and what is let through."""

from __future__ import annotations

import pytest

from service import framing
from service.errors import BadFraming, HeadTooLarge

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


CHUNKS = "Transfer-Encoding is chunked, in HTTP/1.1, or not there; for gzip there is Content-Encoding."
REFUSED = {
    "HTTP/2.0 is not spoken here; send HTTP/1.1.": lambda: check(HOST, version="2.0"),
    "HTTP/0.9 is not spoken here; send HTTP/1.1.": lambda: check(version="0.9"),
    "CONNECT is for proxies, and this is none.": lambda: check(HOST, method=b"CONNECT"),
    "The request has more than one host header.": lambda: check(HOST, (b"a", b""), HOST),
    "The request has more than one transfer-encoding header.": lambda: check(HOST, CHUNKED, CHUNKED),
    "A request of HTTP/1.1 has a Host header; this one has none.": lambda: check((b"a", b"")),
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
        assert str(refusal.value) == CHUNKS


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
