"""Requests that this service and a proxy before it could read differently, and so where the next one begins.

In: a request's head, as llhttp has read it. Out: a refusal; or its target and its headers in the one form in which
everything behind reads them. llhttp refuses two lengths, bare line feeds, folded lines, spaces before colons and
lengths that are no numbers by itself; here is what it lets through (RFC 9112).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, NamedTuple

from ..errors import BadFraming, HeadTooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_HEAD = 32_768  # bytes: request line, names and values
MAX_HEADERS = 100
KEPT = 32  # hosts and targets whose reading is kept: clients send the same again and again
# Headers of one value that something here reads: of two lines, one reader would take the first, another the last.
SINGLE = frozenset(
    b"host content-length transfer-encoding content-type content-encoding expect upgrade authorization x-api-key "
    b"x-request-id x-request-timeout-ms inference-header-content-length origin sec-fetch-site range if-range "
    b"if-modified-since".split()
)
# Host and port (RFC 3986 section 3.2); no user, whom nothing here would ask for.
AUTHORITY = rb"(?:\[[\w:.%~-]+\]|[\w.~!$&'()*+,;=%-]+)(?::(\d{0,5}))?"
HOST = re.compile(AUTHORITY)
PLAIN = re.compile(rb"(?:/[\w.~-]+)+")
PATH = rb"/[!\"$-~]*"  # and query, all that can be seen of ASCII; a fragment (#) is never sent
ORIGIN = re.compile(PATH)
ABSOLUTE = re.compile(rb"https?://(?P<authority>%b)(?P<path>%b)" % (AUTHORITY, PATH), re.IGNORECASE)
# Encoded, a slash is not one that parts a path (RFC 3986 section 2.2), and no path here has control characters.
KEPT_ENCODED = re.compile(rb"%(?=2f|[01][\da-f]|7f)", re.IGNORECASE)


class Target(NamedTuple):
    """What a request asks for: its path and query, and the host where the target names one."""

    url: bytes
    host: bytes | None = None


def check(version: str, method: bytes, headers: Sequence[tuple[bytes, bytes]], by_name: Mapping[bytes, bytes]) -> None:
    """Refuse a head that others may read differently: raises `BadFraming`, or `HeadTooLarge` for too many headers."""
    if version not in {"1.1", "1.0"}:
        raise BadFraming(f"HTTP/{version} is not spoken here; send HTTP/1.1.")
    if method == b"CONNECT":
        raise BadFraming("CONNECT is for proxies, and this is none.")
    if len(headers) > MAX_HEADERS:
        raise too_many_headers(len(headers))
    if len(by_name) != len(headers):
        _check_single([name for name, _ in headers])
    host = by_name.get(b"host")
    if host is None and version == "1.1":
        raise BadFraming("A request of HTTP/1.1 has a Host header; this one has none.")
    if host and not _is_host(host):
        raise BadFraming("The request's Host header is no host and port.")
    coding = by_name.get(b"transfer-encoding")
    if coding is not None and (coding.strip().lower() != b"chunked" or version == "1.0"):
        raise BadFraming("Transfer-Encoding is chunked, in HTTP/1.1, or not there; for gzip there is Content-Encoding.")


def _check_single(names: Sequence[bytes]) -> None:
    for name in names:
        if name in SINGLE and names.count(name) > 1:
            raise BadFraming(f"The request has more than one {name.decode()} header.")


@functools.lru_cache(KEPT)
def _is_host(text: bytes) -> bool:
    found = HOST.fullmatch(text)
    return found is not None and int(found[1] or 0) < 2**16


def joined(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers, each once: of several lines with one name, the values in their order (RFC 9110 section 5.3)."""
    by_name: dict[bytes, bytes] = {}
    for name, value in headers:
        by_name[name] = b"%b, %b" % (by_name[name], value) if name in by_name else value
    return by_name


@functools.lru_cache(KEPT)
def target(url: bytes, method: bytes) -> Target:
    """What a request asks for, whether its target names the host or not; raises `BadFraming`.

    A slash at the end of a path makes no difference.
    """
    if PLAIN.fullmatch(url) or (url == b"*" and method == b"OPTIONS"):
        return Target(url)
    host = None
    if not ORIGIN.fullmatch(url):
        found = ABSOLUTE.fullmatch(url)
        if found is None or not _is_host(found["authority"]):
            raise BadFraming("The request's target is neither a path nor an http URL with a host and a path.")
        host, url = found["authority"], found["path"]
    path, mark, query = url.partition(b"?")
    if path.endswith(b"/") and not path.endswith(b"//"):
        path = path[:-1] or path
    return Target(KEPT_ENCODED.sub(b"%25", path) + mark + query, host)


def check_size(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse a head that is too long; raises `HeadTooLarge`."""
    if len(url) + sum(len(name) + len(value) for name, value in headers) > MAX_HEAD:
        raise head_too_large()


def too_many_headers(count: int) -> HeadTooLarge:
    """The refusal of too many headers, also before the head's end is there."""
    return HeadTooLarge(f"The request has {count} headers; the limit is {MAX_HEADERS}.", limit=MAX_HEADERS)


def head_too_large() -> HeadTooLarge:
    """The refusal of a head that is too long, also before its end is there."""
    return HeadTooLarge(f"The request's head has more than {MAX_HEAD:,} bytes, which is the limit.", limit=MAX_HEAD)
