"""A line of the log: what a client sends makes neither a second line nor a field of its own."""

from __future__ import annotations

import json
import logging
from typing import Literal

import pytest

from service.observability.log_format import FORMATTERS, TextFormatter

# That some terminal or reader of lines obeys: C0, DEL, C1, separators, directions, tags; half of a surrogate pair.
OBEYED = "\n\x1b\x7f\x85\x9b\u2028\u2029\u202e\ufeff\U000e0001\udcff"


def line(message: str, *, exception: str = "", **fields: object) -> str:
    record = logging.LogRecord("service", logging.WARNING, "", 0, message, None, None)
    record.created, record.exc_text = 1795934232.7, exception
    record.fields = fields
    return TextFormatter().format(record)


def test_a_line_has_time_level_message_and_fields() -> None:
    """In this order; a stack follows in lines of its own."""
    assert line("it is so", number=7, name="x") == "2026-11-29T06:37:12.700+00:00 warning  it is so number=7 name=x"
    assert line("it failed", exception="Traceback\n  …").splitlines()[1:] == ["Traceback", "  …"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("/predict", "/predict"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("x\nlevel", r'"x\nlevel"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        (None, "null"),
        (True, "true"),
        ({"1": 0.5}, '{"1":0.5}'),
    ],
)
def test_a_value_stays_one_field(value: object, written: str) -> None:
    """Spaces, quotes, equals signs and control characters are between quotes."""
    assert line("m", name=value).endswith(f" m name={written}")


def test_a_message_stays_one_line() -> None:
    """Also where it quotes what was sent."""
    assert "\n" not in line("a\nb")
    assert line("a\nb\x07").endswith(r"a\nb\u0007")


@pytest.mark.parametrize("log_format", FORMATTERS)
def test_no_character_but_printable_ones_is_written(log_format: Literal["json", "text"]) -> None:
    """Neither in a message nor in a field, nor in a stack, but for the ends of its lines."""
    record = logging.LogRecord("service", logging.ERROR, "", 0, f"a{OBEYED}", None, None)
    record.fields, record.exc_text = {"name": f"b{OBEYED}", "large": 2**64}, f"ValueError: c{OBEYED}"
    written = FORMATTERS[log_format]().format(record)
    assert written.encode()
    assert written.replace("\n", " ").isprintable()
    if log_format == "json":
        found = json.loads(written)
        assert (found["message"], found["name"], found["large"]) == (f"a{OBEYED}", f"b{OBEYED}", 2**64)
    else:
        assert written.count("\n") == 1 + OBEYED.count("\n")  # the stack's
