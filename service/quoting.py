"""Quote a value from a request in an error or a log line: at most 80 printable characters.

In: any value from JSON, a header, a path or a message. Out: text for a sentence. It reads no more of the value than it
quotes.
"""

from __future__ import annotations

import re

LONGEST = 80  # characters
# Where addresses and headers hold secrets: the user's name and password, a query, which may be a signature, and tokens.
# A password may hold any sign, and the address may be wrong: what is between a colon and the last @ of a word is one.
SECRETS = re.compile(
    r"(?<![^/\s'\"])[^/\s:@'\"]*:(?!//)[^\s'\"]{0,300}(?=@)|(?<=//)[^/\s]*(?=@)"
    r"|(?<=\?)[^\s'\"]+|(?<=Bearer )\S+|(?<=Basic )\S+"
)


def quoted(value: object) -> str:
    """Return the value for a sentence: cut, and without control characters, which JSON writes six times as long."""
    if isinstance(value, list):
        text = f"[{', '.join(map(_element, value[:LONGEST]))}]"
    else:
        text = value[: LONGEST + 1] if isinstance(value, str) else _element(value)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return printable(text)


def printable(text: str, instead: str = "\ufffd") -> str:
    """Return a text in which `instead` stands for each character that is not printable."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else instead for letter in text)


def _element(value: object) -> str:
    """Return an element of a list, or a value that is not a list; containers are named by their type."""
    if isinstance(value, str):
        return repr(value[: LONGEST + 1])
    return repr(value) if value is None or isinstance(value, bool | int | float) else type(value).__name__


def without_secrets(text: str) -> str:
    """Return a text in which … stands for what may be secret in its addresses and headers."""
    return SECRETS.sub("…", text)
