"""Checks against request smuggling: a proxy in front must not read a request differently from this service.

In: a request's head, as llhttp has parsed it. Out: an error; or the request's target and headers in one normal form.
llhttp itself refuses two lengths, bare line feeds, folded lines, spaces before colons and lengths that are not numbers.
This module refuses the ambiguous heads that llhttp accepts (RFC 9112).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from ..errors import BadFraming, HeadTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_HEAD_BYTES = 32_768  # request line, names and values
MAX_HEADERS = 100
CACHED = 32  # hosts and targets: clients send the same ones again and again
# Headers with one value that the service reads: of two lines, one parser could use the first, another the last.
SINGLE = frozenset(
    b"host content-length transfer-encoding content-type content-encoding expect upgrade authorization x-api-key "
    b"x-request-id x-request-timeout-ms inference-header-content-length origin sec-fetch-site range if-range "
    b"if-modified-since".split()
)
# Host and port (RFC 3986 section 3.2), without the user part, which nothing here needs.
AUTHORITY = rb"(?:\[[\w:.%~-]+\]|[\w.~!$&'()*+,;=%-]+)(?::(\d{0,5}))?"
HOST = re.compile(AUTHORITY)
PLAIN = re.compile(rb"(?:/[\w.~-]+)+")
PATH = rb"/[!\"$-~]*"  # with the query: visible ASCII; clients do not send fragments (#)
ORIGIN = re.compile(PATH)
ABSOLUTE = re.compile(rb"https?://(?P<authority>%b)(?P<path>%b)" % (AUTHORITY, PATH), re.IGNORECASE)
# An encoded slash does not separate path segments (RFC 3986 section 2.2), and no path here has control characters.
STAYS_ENCODED = re.compile(rb"%(?=2f|[01][\da-f]|7f)", re.IGNORECASE)


class Target(NamedTuple):
    """A request's path and query, and its host if the target contains one."""

    url: bytes
    host: bytes | None = None


def check(version: str, method: bytes, headers: Sequence[tuple[bytes, bytes]], by_name: Mapping[bytes, bytes]) -> None:
    """Check a head; raises `BadFraming` if it is ambiguous, and `HeadTooLarge` if it has too many headers."""
    if version not in {"1.1", "1.0"}:
        raise BadFraming(f"HTTP/{version} is not supported; send HTTP/1.1.")
    if method == b"CONNECT":
        raise BadFraming("This server is not a proxy; CONNECT is not supported.")
    if len(headers) > MAX_HEADERS:
        raise too_many_headers(len(headers))
    if len(by_name) != len(headers):
        _check_single([name for name, _ in headers])
    host = by_name.get(b"host")
    if host is None and version == "1.1":
        raise BadFraming("The request has no Host header; HTTP/1.1 requires one.")
    if host and not _is_host(host):
        raise BadFraming("The request's Host header is not a host and a port.")
    coding = by_name.get(b"transfer-encoding")
    if coding is not None and (coding.strip().lower() != b"chunked" or version == "1.0"):
        raise BadFraming("Transfer-Encoding must be chunked, in HTTP/1.1 only; use Content-Encoding for gzip.")


def _check_single(names: Sequence[bytes]) -> None:
    for name in names:
        if name in SINGLE and names.count(name) > 1:
            raise BadFraming(f"The request has more than one {name.decode()} header.")


@functools.lru_cache(CACHED)
def _is_host(text: bytes) -> bool:
    match = HOST.fullmatch(text)
    return match is not None and int(match[1] or 0) < 2**16


def join(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers by name; several values of one name are joined in order (RFC 9110 section 5.3)."""
    by_name: dict[bytes, bytes] = {}
    for name, value in headers:
        by_name[name] = b"%b, %b" % (by_name[name], value) if name in by_name else value
    return by_name


@functools.lru_cache(CACHED)
def target(url: bytes, method: bytes) -> Target:
    """Return a request's target, with or without a host in its URL; raises `BadFraming`.

    One slash at the end of the path is dropped.
    """
    if PLAIN.fullmatch(url) or (url == b"*" and method == b"OPTIONS"):
        return Target(url)
    host = None
    if not ORIGIN.fullmatch(url):
        match = ABSOLUTE.fullmatch(url)
        if match is None or not _is_host(match["authority"]):
            raise BadFraming("The request's target is neither a path nor an http URL with a host and a path.")
        host, url = match["authority"], match["path"]
    path, mark, query = url.partition(b"?")
    if path.endswith(b"/") and not path.endswith(b"//"):
        path = path[:-1] or path
    return Target(STAYS_ENCODED.sub(b"%25", path) + mark + query, host)


def check_size(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Check a head's size; raises `HeadTooLarge`."""
    if len(url) + sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES:
        raise head_too_large()


def too_many_headers(count: int) -> HeadTooLarge:
    """Return the error for `count` headers; it can be raised before all of them have arrived."""
    return HeadTooLarge(f"The request has {count} headers; the limit is {MAX_HEADERS}.", limit=MAX_HEADERS)


def head_too_large() -> HeadTooLarge:
    """Return the error for a large head; it can be raised before all of the head has arrived."""
    detail = f"The request's head has more than {MAX_HEAD_BYTES:,} bytes, which is the limit."
    return HeadTooLarge(detail, limit=MAX_HEAD_BYTES)
