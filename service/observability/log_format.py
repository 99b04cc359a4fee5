"""Write a record of the log as a line: JSON for programs, or text for people.

In: a record, with what `extra={"fields": …}` adds. Out: its line. It knows no stream.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINE = 65_536  # characters of one line
LogFormat = Literal["json", "text"]
JSON: Final = "json"
TEXT: Final = "text"
QUOTED = set(' "=')  # what a value in a line of text has only between quotes


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MAX_LINE],
            **getattr(record, "fields", {}),
        }
        if record.exc_text:
            line["exception"] = record.exc_text[-MAX_LINE:]
        return _dump(line)


class TextFormatter(logging.Formatter):
    """One line: time, level, message, and the fields as name=value; a stack is in further lines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        message = _printable(record.getMessage()[:MAX_LINE])
        parts = [_time(record), f"{record.levelname.lower():8}", message, *(_field(*each) for each in fields.items())]
        stack = record.exc_text[-MAX_LINE:].split("\n") if record.exc_text else []
        return "\n".join([" ".join(parts), *map(_printable, stack)])


FORMATTERS: dict[LogFormat, type[logging.Formatter]] = {JSON: JsonFormatter, TEXT: TextFormatter}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _field(name: str, value: object) -> str:
    """Return name=value; a text with spaces is in quotes, and what is no text is JSON."""
    if not isinstance(value, str) or set(value) & QUOTED or not value.isprintable():
        return f"{name}={_dump(value)}"
    return f"{name}={value}"


def _printable(text: str) -> str:
    """Return text without control characters, which would let a client write lines of its own."""
    return text if text.isprintable() else _dump(text)[1:-1]


def _dump(value: object) -> str:
    """Return JSON of printable characters alone: terminals and readers of lines obey more than the first 32."""
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:  # bytes of a path that are no UTF-8, or a number of more than 64 bits
        text = json.dumps(value, default=str, separators=(",", ":"))
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)
