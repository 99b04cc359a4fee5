"""The versions that lie in a model's folder, and which of them is chosen.

In: `<model_dir>/<n>/`, the setting and the pin file. Out: the chosen word, the numbers there, and a folder's stamp, by
which a change is seen. It looks at names and times; what files hold is `service.artefact`'s.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import ModelError

if TYPE_CHECKING:
    from service.settings import Settings

LATEST = "latest"
PIN = "PINNED"  # in the model's folder, where no setting names another place
FILES = ("golden.npz", "model.json", "model.onnx")

Stamp = tuple[tuple[int, int, int], ...]  # inode, bytes and time of each file


def numbers(model_dir: Path) -> list[int]:
    """The numbers of the version folders, highest first; raises `ModelError` where there are none."""
    try:
        with os.scandir(model_dir) as entries:
            found = [int(e.name) for e in entries if re.fullmatch(r"[1-9][0-9]*", e.name) and e.is_dir()]
    except OSError as error:
        raise ModelError(f"{model_dir}: expected a folder of model versions, found {error.strerror}") from None
    if not found:
        raise ModelError(f"{model_dir}: expected numbered version folders (1, 2, …), found none")
    return sorted(found, reverse=True)


def stamp(folder: Path) -> Stamp | None:
    """What changes whenever a version's files do; None while one of them is missing, as in a folder being copied."""
    try:
        stats = [(folder / name).stat() for name in FILES]
    except OSError:
        return None
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in stats)


def pin_file(settings: Settings) -> Path:
    """Where the pin lies, if there is one."""
    return settings.pin_file or settings.model_dir / PIN


def chosen(settings: Settings) -> str:
    """The pin's word, or else the setting's: `latest` or a number; raises `ModelError` for another word in the pin."""
    path = pin_file(settings)
    try:
        word = path.read_text().strip()
    except FileNotFoundError:
        return settings.model_version
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name}: expected a readable file, found {type(error).__name__}") from None
    if word != LATEST and not re.fullmatch(r"[1-9][0-9]*", word):
        raise ModelError(f"{path.name}: expected a version's number, or {LATEST}, found {word[:40]!r}")
    return word


def pin(settings: Settings, word: str) -> None:
    """Choose a version for every service that reads this pin, in one step and for good; raises `OSError`."""
    path = pin_file(settings)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(f"{word}\n")
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def unpin(settings: Settings) -> None:
    """Let the setting choose again; raises `OSError`."""
    pin_file(settings).unlink(missing_ok=True)
