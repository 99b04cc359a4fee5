"""What an error or a log quotes from a request: at most 80 printable characters, however much was sent.

In: any value that JSON, a header, a path or a message has. Out: text for a sentence. It looks at no more of the value
than it quotes.
"""

from __future__ import annotations

LONGEST = 80  # characters


def quoted(value: object) -> str:
    """The value as a sentence may name it: cut, and without control characters, which JSON would write six times as
    long.
    """
    if isinstance(value, list):
        text = f"[{', '.join(map(_element, value[:LONGEST]))}]"
    else:
        text = value[: LONGEST + 1] if isinstance(value, str) else _element(value)
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _element(value: object) -> str:
    """A value within a list, or one that is none; what holds others is named, and not looked into."""
    if isinstance(value, str):
        return repr(value[: LONGEST + 1])
    return repr(value) if value is None or isinstance(value, bool | int | float) else type(value).__name__
