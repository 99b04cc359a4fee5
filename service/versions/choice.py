"""The version that is chosen to serve, the canary beside it, and the held versions: small files that operators write.

In: the settings, the pin file, the canary file and the list of held versions, which a training job writes too. Out: the
chosen version, the canary, and the versions that `latest` may mean. The files are read as untrusted files. They may be
links only where a setting names the pin file, as in a mounted ConfigMap. It does not know what a version's files hold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError
from ..model.layout import LATEST, NUMBER, numbers
from . import held, operator_files

if TYPE_CHECKING:
    from pathlib import Path

    from ..settings import Settings
    from .operator_files import Words

PIN = "PINNED"  # in the model's folder, unless a setting names another file
CANARY = "CANARY"  # in the folder of the pin file
HELD_CANARY = "held"  # in the place of a canary's share, as older versions of this program wrote it


class CanarySpec(NamedTuple):
    """The canary file: a version that `latest` never means until it is promoted."""

    number: int
    percent: float  # share of the requests; 0: a shadow, which answers none
    written: int  # when, in nanoseconds: the same words written again start a new trial


def pin_path(settings: Settings) -> Path:
    """Return the path of the pin file, which need not exist."""
    return settings.pin_file or settings.model_dir / PIN


def chosen_version(settings: Settings) -> str:
    """Return `latest` or a number, from the pin file, or else from the setting; raises `ModelError` for other words."""
    path = pin_path(settings)
    words = _read(settings, path)
    if words is None:
        return settings.model_version
    word = words.text
    if word != LATEST and not re.fullmatch(NUMBER, word):
        raise ModelError(f"{path.name}: expected a version's number, or {LATEST}, found something else")
    return word


def pin(settings: Settings, word: str) -> None:
    """Choose a version for every service that reads this pin file, atomically and durably; raises `OSError`."""
    operator_files.write(pin_path(settings), word)


def unpin(settings: Settings) -> None:
    """Let the setting choose again; raises `OSError`."""
    pin_path(settings).unlink(missing_ok=True)


def canary_path(settings: Settings) -> Path:
    """Return the path of the canary file, which need not exist."""
    return pin_path(settings).with_name(CANARY)


def read_canary(settings: Settings) -> CanarySpec | None:
    """Return the canary, if there is one; raises `ModelError` for other words in its file."""
    spec, _ = _read_canary(settings)
    return spec


def write_canary(settings: Settings, number: int, percent: float) -> None:
    """Make a version the canary of every service that reads this file; raises `OSError`."""
    operator_files.write(canary_path(settings), f"{number} {percent:g}")


def remove_canary(settings: Settings) -> None:
    """Have no canary; raises `OSError`."""
    canary_path(settings).unlink(missing_ok=True)


def held_path(settings: Settings) -> Path:
    """Return the path of the list of held versions beside the pin file, which need not exist."""
    return pin_path(settings).with_name(held.NAME)


def read_held(settings: Settings) -> set[int]:
    """Return the held versions, which `latest` never means until they are promoted; raises `ModelError`."""
    _, held_canary = _read_canary(settings)
    return held_canary | _read_lists(settings)


def hold(settings: Settings, number: int) -> None:
    """Let `latest` never mean a version, durably; raises `ModelError` or `OSError`."""
    held.add(held_path(settings), number)


def release(settings: Settings, number: int) -> None:
    """Take a version off the lists, and stop it if it is the canary; raises `ModelError` or `OSError`."""
    spec, held_canary = _read_canary(settings)
    for path in _held_paths(settings):
        if number in held.read(path, follow=_follow(settings, path)):
            held.remove(path, number)
    if number in held_canary or (spec is not None and spec.number == number):
        remove_canary(settings)


def latest_candidates(settings: Settings) -> list[int]:
    """Return the versions that `latest` may mean, highest first; raises `ModelError`."""
    return exclude_held(settings, numbers(settings.model_dir))


def exclude_held(settings: Settings, found: list[int]) -> list[int]:
    """Return the numbers without those of the canary and of held versions; raises `ModelError`.

    The caller lists `found` before it calls this. A version is held before its folder appears, and a canary is held
    before it ends, so at no moment may `latest` mean one of them.
    """
    spec, held_canary = _read_canary(settings)
    excluded = {*held_canary, *_read_lists(settings)} | ({spec.number} if spec else set())
    return [number for number in found if number not in excluded]


def _read_canary(settings: Settings) -> tuple[CanarySpec | None, set[int]]:
    """Return the canary, if there is one; and the version that its file holds, as older files do."""
    path = canary_path(settings)
    words = _read(settings, path)
    if words is None:
        return None, set()
    found = re.fullmatch(rf"({NUMBER}) ({HELD_CANARY}|[0-9]{{1,3}}(?:\.[0-9]+)?)", words.text)
    if found is not None and found[2] == HELD_CANARY:
        return None, {int(found[1])}
    if found is None or float(found[2]) > 100:
        expected = f"a version's number, and 0 to 100 or {HELD_CANARY}"
        raise ModelError(f"{path.name}: expected {expected}, found something else")
    return CanarySpec(int(found[1]), float(found[2]), words.written), set()


def _read_lists(settings: Settings) -> set[int]:
    return set().union(*(held.read(path, follow=_follow(settings, path)) for path in _held_paths(settings)))


def _held_paths(settings: Settings) -> set[Path]:
    """Return the lists: where training jobs write, and where operators do."""
    return {settings.model_dir / held.NAME, held_path(settings)}


def _read(settings: Settings, path: Path) -> Words | None:
    return operator_files.read(path, follow=_follow(settings, path))


def _follow(settings: Settings, path: Path) -> bool:
    """Return whether a file may be a link: beside the pin file, where a setting names it."""
    return settings.pin_file is not None and path.parent == settings.pin_file.parent
