"""The layout of a model's folder: `<model_dir>/<n>/`, one folder for each version, with three files in each.

Beside the folder there may be the version's signature, `<model_dir>/<n>.sig`. In: the model's folder. Out: the numbers
of its versions, and the stamp of one version, which changes whenever one of its files does. It reads names and times,
and no file. Symbolic links in the model's folder are not followed.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..system import files

if TYPE_CHECKING:
    from pathlib import Path

LATEST = "latest"  # in the place of a number: the highest number that can be loaded
NUMBER = "[1-9][0-9]{0,8}"
FILES = ("golden.npz", "model.json", "model.onnx")
MAX_ENTRIES = 10_000  # of the model's folder, which is listed twice a second

Stamp = tuple[tuple[int, int, int] | None, ...]  # inode, bytes and time of each file


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


def signature_path(model_dir: Path, number: int | str) -> Path:
    """Return the path of a version's signature, which need not exist."""
    return model_dir / f"{number}.sig"


def stamp(folder: Path, *others: Path) -> Stamp | None:
    """What changes whenever a version's files do; None while one of them is missing, as in a folder being copied.

    `others` are files outside of the folder that decide whether it may serve; they need not be there. What stands in
    the way of a folder has a stamp too: loading it tells what it is.
    """
    own = _own(folder)
    return None if own is None else own + tuple(map(files.state, others))


def _own(folder: Path) -> Stamp | None:
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
