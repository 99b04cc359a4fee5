"""The parser of training's command lines: it says first what is wrong, and names the nearest word that it knows.

In: words. Out: their values; or, for words that it does not know, the end of the process with code 2.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser whose errors come before a short usage. Flags of the parser `passed_on` are left to it."""

    passed_on: Parser | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and refuse unknown words; the words of flags that are passed on are returned."""
        words = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None:  # first, since a misspelled flag may be one that is required
            flags = [word for word in words if word.startswith("--") and word != "--"]
            self._refuse([flag for flag in flags if flag.partition("=")[0] not in self._flags()])
        options, rest = super().parse_known_args(words, namespace)
        if self.passed_on is None:
            self._refuse(rest)
        return options, rest

    def _flags(self) -> list[str]:
        return [*self._option_string_actions, *(self.passed_on._flags() if self.passed_on else ())]

    def _refuse(self, unknown: list[str]) -> None:
        for word in unknown:
            self.error(f"unknown argument {word[:80]}{_did_you_mean(word, self._flags())}")

    def error(self, message: str) -> NoReturn:
        """End the process with code 2."""
        if found := re.search(r"invalid choice: '(.*)' \((choose from .*)\)", message):
            message += _did_you_mean(found[1], re.findall(r"[\w-]+", found[2]))
        self.exit(2, f"{self.prog}: error: {message}\n{self.format_usage()}")


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    names = {each.lstrip("-"): each for each in known}  # two dashes would make all flags alike
    nearest = difflib.get_close_matches(word.partition("=")[0].lstrip("-"), names, 1)
    return f"; did you mean {names[nearest[0]]}?" if nearest else ""
