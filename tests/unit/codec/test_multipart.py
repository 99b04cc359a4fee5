"""Forms of files: the short way for plain ones reads them as python-multipart does, or leaves them to it."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from service.codec import multipart
from service.errors import ServiceError

FORM = (
    b'--b\r\nContent-Disposition: form-data; name="one"; filename="1.png"\r\nContent-Type: image/png\r\n\r\nfirst\r\n'
    b'--b\r\ncontent-disposition: form-data; name="two"; filename=""\r\n\r\n\r\n-- \x00\r\n--b--\r\n'
)
SPLINTERS = [
    b"",
    b"\r\n",
    b"\r",
    b"\n",
    b"-",
    b"--",
    b"--b",
    b"\r\n--b",
    b"\r\n--b\r\n",
    b"\r\n--b--",
    b'"',
    b"\\",
    b";",
    b":",
    b" ",
]


NOTE = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nnot a file\r\n'


def by_the_library(form: bytes) -> list[bytes] | None:
    try:
        return multipart.parse_any(form, b"b", 99)
    except ServiceError:
        return None


def test_plain_form_is_read_the_short_way() -> None:
    """Files come out in their order, whatever bytes they hold."""
    assert multipart.split_plain(FORM, b"b", 2) == [b"first", b"\r\n-- \x00"] == by_the_library(FORM)


@pytest.mark.parametrize(("boundary", "parts"), [(b"", 2), (b"c", 2), (b"b" * 71, 2), (b"b", 1)])
def test_what_is_not_plain_is_left_to_the_library(boundary: bytes, parts: int) -> None:
    """No boundary, another, one too long, or more parts than are allowed."""
    assert multipart.split_plain(FORM, boundary, parts) is None


def test_fields_that_are_no_files_are_left_to_the_library_which_passes_them_over() -> None:
    """Whether a part without a filename is a file, its content says."""
    assert multipart.split_plain(NOTE + FORM, b"b", 3) is None
    assert by_the_library(NOTE + FORM) == by_the_library(FORM)


@given(
    st.lists(
        st.tuples(st.integers(0, len(FORM)), st.integers(0, 5), st.sampled_from(SPLINTERS) | st.binary(max_size=2)),
        max_size=3,
    )
)
def test_spoilt_forms_are_read_as_the_library_reads_them_or_not_at_all(changes: list[tuple[int, int, bytes]]) -> None:
    """Bytes cut out and put in anywhere: what the short way still reads, the library reads alike."""
    form = FORM
    for at, cut, put in changes:
        form = form[:at] + put + form[at + cut :]
    found = multipart.split_plain(form, b"b", 99)
    assert found is None or found == by_the_library(form)
