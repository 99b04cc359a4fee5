"""Which version services choose in a model's folder: the words of PINNED, CANARY and HELD beside the versions.

In: the folder models/<name>. Out: the number that the pin, or else `latest`, chooses; and the list of held versions,
which `latest` passes over. The service reads the same words (`service/versions/choice.py`), and a test proves that both
agree. It knows no card.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from .. import files
from ..errors import ChoiceError

if TYPE_CHECKING:
    from collections.abc import Set
    from pathlib import Path

PIN: Final = "PINNED"
CANARY: Final = "CANARY"
HELD: Final = "HELD"
LATEST: Final = "latest"
NUMBER: Final = "[1-9][0-9]{0,8}"
HIGHEST: Final = 999_999_999
SHARE: Final = r"(held|0?[0-9]{1,2}(\.[0-9]+)?|100(\.0+)?)"
FILES: Final = ("golden.npz", "model.json", "model.onnx")  # of a version that may serve
MAX_BYTES: Final = 80  # of PINNED and CANARY
MAX_HELD_BYTES: Final = 2**16


def chosen_version(folder: Path, ignoring: int | None = None) -> int | None:
    """Return the number that the pin, or else `latest`, chooses; None where `latest` means no version.

    `ignoring` is a number that counts as if there were no such version. A pin may name a version that is not there.
    Raises `ChoiceError` for words that the service could not read either.
    """
    pin = _read_pin(folder)
    passed_over = {*_read_canary(folder), *read_held(folder), ignoring}
    if pin not in {LATEST, str(ignoring)}:
        return int(pin)
    return max((number for number in numbers(folder) if number not in passed_over), default=None)


def named_versions(folder: Path) -> set[int]:
    """Return the numbers that pin and canary name, of versions that need not be there; raises `ChoiceError`."""
    pin = _read_pin(folder)
    return _read_canary(folder) | (set() if pin == LATEST else {int(pin)})


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the versions whose files are all there; links do not count. There may be no folder."""
    entries = os.scandir(folder) if folder.exists() else ()
    found = [entry for entry in entries if re.fullmatch(NUMBER, entry.name) and entry.is_dir(follow_symlinks=False)]
    return [int(entry.name) for entry in found if all(os.path.lexists(f"{entry.path}/{name}") for name in FILES)]


def read_held(folder: Path) -> set[int]:
    """Return the held versions; raises `ChoiceError`."""
    words = _read(folder / HELD, rf"({NUMBER}(\s+|\Z))*", "versions' numbers, each on a line", MAX_HELD_BYTES)
    return set(map(int, words.split()))


def write_held(folder: Path, held: Set[int]) -> None:
    """Make this the list of held versions, durably; raises `OSError`. The caller holds the folder's lock."""
    if held == read_held(folder):
        return
    if held:
        files.replace(folder / HELD, "".join(f"{number}\n" for number in sorted(held)).encode())
    else:
        (folder / HELD).unlink()
        files.flush(folder)


def promote(folder: Path, number: int) -> None:
    """Make services choose a version: as `latest`, or else by the pin. Raises `OSError`, or `ChoiceError`.

    The caller holds the folder's lock.
    """
    write_held(folder, read_held(folder) - {number})
    if chosen_version(folder) != number:
        files.replace(folder / PIN, f"{number}\n".encode())


def _read_pin(folder: Path) -> str:
    return _read(folder / PIN, f"{LATEST}|{NUMBER}", f"a version's number, or {LATEST}") or LATEST


def _read_canary(folder: Path) -> set[int]:
    words = _read(folder / CANARY, f"{NUMBER} {SHARE}", "a version's number, and 0 to 100 or held")
    return {int(word) for word in words.split()[:1]}


def _read(path: Path, pattern: str, expected: str, limit: int = MAX_BYTES) -> str:
    """Return the words of a file that match the pattern; empty without a file. Raises `ChoiceError`."""
    try:
        content = files.read_small(path, limit)
        words = "" if content is None else content.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ChoiceError(f"{path}: expected {expected}, found that it cannot be read: {error}") from error
    if content is not None and not re.fullmatch(pattern, words):
        raise ChoiceError(f"{path}: expected {expected}, found something else")
    return words
