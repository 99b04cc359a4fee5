"""Requests that this service and a proxy before it could read differently, and so where the next one begins.

In: a request's head, as llhttp has read it. Out: a refusal, or nothing. llhttp refuses two lengths, bare line feeds,
folded lines, spaces before colons and lengths that are no numbers by itself; here is what it lets through (RFC 9112).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import BadFraming, HeadTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_HEAD = 32_768  # bytes: request line, names and values
MAX_HEADERS = 100


def check(version: str, method: bytes, headers: Sequence[tuple[bytes, bytes]], by_name: Mapping[bytes, bytes]) -> None:
    """Refuse a head that others may read differently: raises `BadFraming`, or `HeadTooLarge` for too many headers."""
    if version not in {"1.1", "1.0"}:
        raise BadFraming(f"HTTP/{version} is not spoken here; send HTTP/1.1.")
    if method == b"CONNECT":
        raise BadFraming("CONNECT is for proxies, and this is none.")
    if len(headers) > MAX_HEADERS:
        raise HeadTooLarge(f"The request has {len(headers)} headers; the limit is {MAX_HEADERS}.", limit=MAX_HEADERS)
    if len(by_name) != len(headers):
        names = [name for name, _ in headers]
        for name in (b"host", b"transfer-encoding"):
            if names.count(name) > 1:
                raise BadFraming(f"The request has more than one {name.decode()} header.")
    if b"host" not in by_name and version == "1.1":
        raise BadFraming("A request of HTTP/1.1 has a Host header; this one has none.")
    coding = by_name.get(b"transfer-encoding")
    if coding is not None and (coding.strip().lower() != b"chunked" or version == "1.0"):
        raise BadFraming("Transfer-Encoding is chunked, in HTTP/1.1, or not there; for gzip there is Content-Encoding.")


def check_size(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse a head that is too long; raises `HeadTooLarge`."""
    if len(url) + sum(len(name) + len(value) for name, value in headers) > MAX_HEAD:
        raise head_too_large()


def head_too_large() -> HeadTooLarge:
    """The refusal of a head that is too long, also before its end is there."""
    return HeadTooLarge(f"The request's head has more than {MAX_HEAD:,} bytes, which is the limit.", limit=MAX_HEAD)
