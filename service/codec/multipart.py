"""Read the files of a multipart form (RFC 7578).

In: a body and its boundary. Out: the content of its files. Forms as curl, browsers and Python's clients write them are
split here, which takes a twentieth of the time; all others are read by python-multipart, which goes through every byte
of a header in Python. What costs time for each byte or boundary is limited before. It does not know what a file shows.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from ..errors import Malformed, TooLarge
from ..picture import formats

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_BOUNDARY = 70  # bytes (RFC 2046 section 5.1.1)
MAX_HEADER, MAX_PARAMETERS = 2048, 32  # bytes of a part's headers, and parameters in its Content-Disposition
PADDING = rb"[ \t]{100}"  # behind a boundary (RFC 2046 section 5.1.1); people send none
# The headers of a part that is split here; names with escapes, and all other headers, are left to the library.
_PLAIN_HEADERS = re.compile(
    rb'content-disposition: form-data; name="[^"\\\r\n]{0,200}"; filename="[^"\\\r\n]{0,200}"'
    rb"(?:\r\ncontent-type: [ -~]{0,200})?",
    re.IGNORECASE,
)

# The client is told of a form that cannot be read; the log is not.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def files(body: bytes, boundary: bytes, max_parts: int) -> list[bytes]:
    """Return the content of the files; fields that are not files are skipped. Raises `Malformed` or `TooLarge`."""
    found = split_plain(body, boundary, max_parts)
    return parse_any(body, boundary, max_parts) if found is None else found


def split_plain(body: bytes, boundary: bytes, max_parts: int) -> list[bytes] | None:
    """Split a form of files with plain headers; None for any other form, and for more parts than `max_parts`."""
    if not 0 < len(boundary) <= MAX_BOUNDARY or not body.startswith(b"--" + boundary):
        return None
    *parts, closing = body[2 + len(boundary) :].split(b"\r\n--" + boundary, max_parts)
    if closing not in {b"--", b"--\r\n"}:
        return None
    found = []
    for part in parts:
        headers, gap, content = part[2:].partition(b"\r\n\r\n")
        if not part.startswith(b"\r\n") or not gap or not _PLAIN_HEADERS.fullmatch(headers):
            return None
        found.append(content)
    return found


def parse_any(body: bytes, boundary: bytes, max_parts: int) -> list[bytes]:
    """Read any form with python-multipart; raises `Malformed` or `TooLarge`."""
    collector, delimiter = _FileCollector(max_parts), b"--" + boundary
    if body.count(b"\r\n" + delimiter) > max_parts:  # also those that turn out to be no boundaries cost time
        raise _too_many_parts(max_parts)
    if re.search(re.escape(delimiter) + PADDING, body):
        raise Malformed("The multipart body has more than 99 spaces behind a boundary.")
    try:
        MultipartParser(boundary, collector.callbacks(), max_header_size=MAX_HEADER).write(body)
    except (FormParserError, ValueError) as error:
        raise Malformed(f"The multipart body cannot be read: {error}.") from None
    return collector.files


def _too_many_parts(limit: int) -> TooLarge:
    return TooLarge(f"The form has more than {limit:,} parts, which is the limit.", limit=limit)


class _FileCollector:
    """Collects the files of a form from the events of python-multipart's parser."""

    def __init__(self, max_parts: int) -> None:
        self.files: list[bytes] = []
        self._parts, self._max_parts = 0, max_parts
        self._name = self._value = self._disposition = b""
        self._content = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_content,
            "on_part_end": self._end_part,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise _too_many_parts(self._max_parts)
        self._disposition, self._content = b"", bytearray()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end_part(self) -> None:
        if self._disposition.count(b";") > MAX_PARAMETERS:
            raise Malformed(f"A Content-Disposition has more than {MAX_PARAMETERS} parameters, which is the limit.")
        _, options = parse_options_header(self._disposition)
        # A file need not have a name (RFC 7578 section 4.2): Triton's perf_analyzer gives none.
        if b"filename" in options or formats.is_picture(self._content):
            self.files.append(bytes(self._content))
