"""The versions that lie in a model's folder, which of them is chosen, and which is tried beside it.

In: `<model_dir>/<n>/`, the setting, the pin file and the canary file. Out: the chosen word, what is told of a canary,
the numbers there, and a folder's stamp, by which a change is seen. It looks at names, times and these two files; what
a version's files hold is `service.model.artefact`'s. Links in the model's folder are not followed; a path that a
setting names may be one, as a ConfigMap makes them.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError
from ..system import files

if TYPE_CHECKING:
    from ..settings import Settings

LATEST = "latest"
NUMBER = "[1-9][0-9]{0,8}"  # of a version
PIN = "PINNED"  # in the model's folder, where no setting names another place
CANARY = "CANARY"  # beside the pin
HELD = "held"
FILES = ("golden.npz", "model.json", "model.onnx")
MAX_ENTRIES = 10_000  # in the model's folder, which is looked through twice a second
MAX_WORDS = 80  # bytes, of a pin or a canary file

Stamp = tuple[tuple[int, int, int], ...]  # inode, bytes and time of each file


class CanarySpec(NamedTuple):
    """What is told of a version that is not to be `latest` until it is promoted."""

    number: int
    percent: float | None  # of the requests, which it answers; 0: a shadow, which answers none; None: it is only held
    written: int  # nanoseconds: what is told again is another thing


def numbers(model_dir: Path) -> list[int]:
    """The numbers of the version folders, highest first; raises `ModelError` where there are none."""
    found = []
    try:
        with os.scandir(model_dir) as entries:
            for count, entry in enumerate(entries, start=1):
                if count > MAX_ENTRIES:
                    raise ModelError(f"{model_dir}: expected at most {MAX_ENTRIES:,} entries, found more")
                if re.fullmatch(NUMBER, entry.name) and entry.is_dir(follow_symlinks=False):
                    found.append(int(entry.name))
    except OSError as error:
        raise ModelError(f"{model_dir}: expected a folder of model versions, found {error.strerror}") from None
    if not found:
        raise ModelError(f"{model_dir}: expected numbered version folders (1, 2, …), found none")
    return sorted(found, reverse=True)


def stamp(folder: Path) -> Stamp | None:
    """What changes whenever a version's files do; None while one of them is missing, as in a folder being copied.

    What stands in the way of a folder has a stamp too: loading it tells what it is.
    """
    try:
        try:
            with files.open_folder(folder) as descriptor:
                return tuple(_facts(os.stat(name, dir_fd=descriptor, follow_symlinks=False)) for name in FILES)
        except FileNotFoundError:
            return None
        except OSError:
            return (_facts(folder.lstat()),)
    except OSError:
        return None


def _facts(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_ino, about.st_size, about.st_mtime_ns


def pin_file(settings: Settings) -> Path:
    """Where the pin lies, if there is one."""
    return settings.pin_file or settings.model_dir / PIN


def chosen_version(settings: Settings) -> str:
    """The pin's word, or else the setting's: `latest` or a number; raises `ModelError` for another word in the pin."""
    path = pin_file(settings)
    spec = _told(settings, path)
    if spec is None:
        return settings.model_version
    word, _ = spec
    if word != LATEST and not re.fullmatch(NUMBER, word):
        raise ModelError(f"{path.name}: expected a version's number, or {LATEST}, found something else")
    return word


def _told(settings: Settings, path: Path) -> tuple[str, int] | None:
    """The words in the pin or the canary file, and when they were written; None without such a file."""
    try:
        data, written = files.read(path, MAX_WORDS, name=path.name, follow=settings.pin_file is not None)
        return data.decode().strip(), written
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path.name}: expected a readable file, found {type(error).__name__}") from None


def pin(settings: Settings, word: str) -> None:
    """Choose a version for every service that reads this pin, in one step and for good; raises `OSError`."""
    _write(pin_file(settings), word)


def unpin(settings: Settings) -> None:
    """Let the setting choose again; raises `OSError`."""
    pin_file(settings).unlink(missing_ok=True)


def canary_path(settings: Settings) -> Path:
    """Where a canary is told, if there is one."""
    return pin_file(settings).with_name(CANARY)


def read_canary(settings: Settings) -> CanarySpec | None:
    """What the canary file says, if there is one; raises `ModelError` for other words in it."""
    path = canary_path(settings)
    spec = _told(settings, path)
    if spec is None:
        return None
    words, written = spec
    found = re.fullmatch(rf"({NUMBER}) ({HELD}|[0-9]{{1,3}}(?:\.[0-9]+)?)", words)
    percent = None if found is None or found[2] == HELD else float(found[2])
    if found is None or (percent or 0) > 100:
        raise ModelError(f"{path.name}: expected a version's number, and 0 to 100 or {HELD}, found something else")
    return CanarySpec(int(found[1]), percent, written)


def write_canary(settings: Settings, number: int, percent: float | None) -> None:
    """Have every service that reads this file try a version, or hold it back; raises `OSError`."""
    _write(canary_path(settings), f"{number} {HELD if percent is None else f'{percent:g}'}")


def remove_canary(settings: Settings) -> None:
    """Let the version be one like all others; raises `OSError`."""
    canary_path(settings).unlink(missing_ok=True)


def candidates(settings: Settings) -> list[int]:
    """The numbers that `latest` may come to, highest first: all but the canary's; raises `ModelError`."""
    return exclude_canary(read_canary(settings), numbers(settings.model_dir))


def exclude_canary(spec: CanarySpec | None, found: list[int]) -> list[int]:
    """All numbers but the canary's."""
    return [number for number in found if spec is None or number != spec.number]


def _write(path: Path, words: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(f"{words}\n")
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    Path(file.name).replace(path)
