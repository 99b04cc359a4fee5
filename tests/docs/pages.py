"""The documents as text, and the blocks of code in them."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support.service import ROOT

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *PAGES)
}
EVERYTHING = "\n".join(DOCUMENTS.values())


class Block(NamedTuple):
    """A fenced block: its language and its lines."""

    language: str
    text: str


class Step(NamedTuple):
    """A command of a terminal session, and what it should print."""

    command: str
    output: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]


def steps(session: str) -> list[Step]:
    """The commands of a `console` block: each line after `$ `, and the lines up to the next one."""
    return [Step(*part.partition("\n")[::2]) for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]]
