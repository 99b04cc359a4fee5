"""Compressed bodies, through `service.receive.decompressed`: what comes out, and what is refused."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from service.errors import Malformed, TooLarge, UnknownMediaType
from service.receive import decompressed

LIMIT = 8 * 2**20  # twice as much as is unpacked at a time
PLAIN = bytes(range(256)) * (LIMIT // 256)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", PLAIN),
        ("identity", PLAIN),
        ("gzip", gzip.compress(PLAIN, mtime=0)),
        ("x-gzip", gzip.compress(PLAIN, mtime=0)),
        ("deflate", zlib.compress(PLAIN)),
        ("gzip", gzip.compress(PLAIN, mtime=0) + b"what follows its end"),
    ],
)
def test_a_body_of_every_encoding_comes_out_as_it_was(encoding: str, body: bytes) -> None:
    """As many bytes as may be, as they were."""
    assert decompressed(body, encoding, limit=LIMIT) == PLAIN


def test_a_body_that_grows_over_the_limit_is_refused() -> None:
    """One byte more than may be; the limit is told."""
    with pytest.raises(
        TooLarge, match=r"^The decompressed body has more than 8,388,608 bytes, which is the "
    ) as caught:
        decompressed(gzip.compress(PLAIN + b"x", mtime=0), "gzip", limit=LIMIT)
    assert caught.value.limit == LIMIT


def test_a_body_that_would_grow_far_is_unpacked_no_further() -> None:
    """What is held at once is a few times the limit, however much there would be."""
    body = gzip.compress(bytes(16 * LIMIT), 1)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decompressed(body, "gzip", limit=LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LIMIT


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"plain", "The body is not gzip: Error -3 while decompressing data: incorrect header check."),
        (gzip.compress(b"plain", mtime=0)[:-1], "The gzip body breaks off."),
        (b"", "The gzip body breaks off."),
    ],
)
def test_a_damaged_body_is_refused(body: bytes, sentence: str) -> None:
    """It says whether the bytes are wrong or too few."""
    with pytest.raises(Malformed) as caught:
        decompressed(body, "gzip", limit=LIMIT)
    assert caught.value.detail == sentence


def test_an_encoding_that_is_not_read_is_named() -> None:
    """And those that are."""
    with pytest.raises(UnknownMediaType) as caught:
        decompressed(b"x", "br", limit=LIMIT)
    assert caught.value.detail == "Content-Encoding br is not one that is read here; send gzip or deflate."
