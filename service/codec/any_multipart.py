"""Forms that are not plain, read by python-multipart: whatever RFC 7578 allows, within limits of what that costs.

In: a body and its boundary. Out: the files in it. What costs time for each byte or each boundary is limited before the
library goes through it. It knows forms, not what a file shows.
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

# Bytes of a part's header, and parameters in it: python-multipart goes through these in Python.
HEADER_BYTES, PARAMETERS = 2048, 32
PADDING = rb"[ \t]{100}"  # behind a boundary (RFC 2046 section 5.1.1), of which people send none

# Of a form that cannot be read its sender is told, and nobody else.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _too_many_parts(limit: int) -> TooLarge:
    return TooLarge(f"The form has more than {limit:,} parts, which is the limit.", limit=limit)


def files(boundary: bytes, body: bytes, max_parts: int) -> list[bytes]:
    """The content of the files; raises `Malformed` or `TooLarge`."""
    form, delimiter = _Form(max_parts), b"--" + boundary
    if body.count(b"\r\n" + delimiter) > max_parts:  # also those that turn out to be none cost time
        raise _too_many_parts(max_parts)
    if re.search(re.escape(delimiter) + PADDING, body):
        raise Malformed("The multipart body has more than 99 spaces behind a boundary.")
    try:
        MultipartParser(boundary, form.callbacks(), max_header_size=HEADER_BYTES).write(body)
    except (FormParserError, ValueError) as error:
        raise Malformed(f"The multipart body cannot be read: {error}.") from None
    return form.files


class _Form:
    """Collects the files of a form from what python-multipart's parser tells."""

    def __init__(self, max_parts: int) -> None:
        self.files: list[bytes] = []
        self._parts, self._max_parts = 0, max_parts
        self._name = self._value = self._disposition = b""
        self._content = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._header,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise _too_many_parts(self._max_parts)
        self._disposition, self._content = b"", bytearray()

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end(self) -> None:
        if self._disposition.count(b";") > PARAMETERS:
            raise Malformed(f"A Content-Disposition has more than {PARAMETERS} parameters, which is the limit.")
        _, options = parse_options_header(self._disposition)
        # A file need not have a name (RFC 7578 section 4.2): Triton's perf_analyzer gives none.
        if b"filename" in options or formats.is_supported(self._content):
            self.files.append(bytes(self._content))
