"""The version that is chosen to serve, and the canary beside it: two small files that operators write.

In: the settings, the pin file and the canary file. Out: the chosen version, the canary, and the versions that `latest`
may mean. Both files are read as untrusted files. They may be links only where a setting names the pin file, as in a
mounted ConfigMap. It does not know what a version's files hold.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError
from ..model.layout import LATEST, NUMBER, numbers
from ..system import files

if TYPE_CHECKING:
    from ..settings import Settings

PIN = "PINNED"  # in the model's folder, unless a setting names another file
CANARY = "CANARY"  # in the folder of the pin file
HELD = "held"
MAX_BYTES = 80  # of a pin or a canary file


class CanarySpec(NamedTuple):
    """The canary file: a version that `latest` never means until it is promoted."""

    number: int
    percent: float | None  # share of the requests; 0: a shadow, which answers none; None: the version is held back
    written: int  # when, in nanoseconds: the same words written again start a new trial


def pin_path(settings: Settings) -> Path:
    """Return the path of the pin file, which need not exist."""
    return settings.pin_file or settings.model_dir / PIN


def chosen_version(settings: Settings) -> str:
    """Return `latest` or a number, from the pin file, or else from the setting; raises `ModelError` for other words."""
    path = pin_path(settings)
    content = _read(settings, path)
    if content is None:
        return settings.model_version
    word, _ = content
    if word != LATEST and not re.fullmatch(NUMBER, word):
        raise ModelError(f"{path.name}: expected a version's number, or {LATEST}, found something else")
    return word


def pin(settings: Settings, word: str) -> None:
    """Choose a version for every service that reads this pin file, atomically and durably; raises `OSError`."""
    _write(pin_path(settings), word)


def unpin(settings: Settings) -> None:
    """Let the setting choose again; raises `OSError`."""
    pin_path(settings).unlink(missing_ok=True)


def canary_path(settings: Settings) -> Path:
    """Return the path of the canary file, which need not exist."""
    return pin_path(settings).with_name(CANARY)


def read_canary(settings: Settings) -> CanarySpec | None:
    """Return the canary, if there is one; raises `ModelError` for other words in its file."""
    path = canary_path(settings)
    content = _read(settings, path)
    if content is None:
        return None
    words, written = content
    found = re.fullmatch(rf"({NUMBER}) ({HELD}|[0-9]{{1,3}}(?:\.[0-9]+)?)", words)
    percent = None if found is None or found[2] == HELD else float(found[2])
    if found is None or (percent or 0) > 100:
        raise ModelError(f"{path.name}: expected a version's number, and 0 to 100 or {HELD}, found something else")
    return CanarySpec(int(found[1]), percent, written)


def write_canary(settings: Settings, number: int, percent: float | None) -> None:
    """Make a version the canary of every service that reads this file; None holds it back. Raises `OSError`."""
    _write(canary_path(settings), f"{number} {HELD if percent is None else f'{percent:g}'}")


def remove_canary(settings: Settings) -> None:
    """Have no canary; raises `OSError`."""
    canary_path(settings).unlink(missing_ok=True)


def latest_candidates(settings: Settings) -> list[int]:
    """Return the versions that `latest` may mean, highest first: all but the canary; raises `ModelError`."""
    return exclude_canary(read_canary(settings), numbers(settings.model_dir))


def exclude_canary(canary: CanarySpec | None, found: list[int]) -> list[int]:
    """Return all numbers but the canary's."""
    return [number for number in found if canary is None or number != canary.number]


def _read(settings: Settings, path: Path) -> tuple[str, int] | None:
    """Return the words of the pin or canary file and when they were written; None without such a file."""
    try:
        data, written = files.read(path, MAX_BYTES, name=path.name, follow=settings.pin_file is not None)
        return data.decode().strip(), written
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.name}: expected a readable file, found {type(error).__name__}") from None


def _write(path: Path, words: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(f"{words}\n")
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    Path(file.name).replace(path)
