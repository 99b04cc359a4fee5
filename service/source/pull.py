"""Pull one version from a source: download it beside its place, verify it, and rename it into place.

In: a source, and a version's number. Out: the version's folder in the model's folder, whole and flushed to the disk, or
an error, and then nothing. Sizes are those of `service.model.artefact`, which verifies the checksums too. What is there
already is never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import ModelError
from ..model import artefact, layout, signature
from ..system import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .remote import Remote

TEMPORARY = ".pulling-"  # begins the names of unfinished folders in the model's folder
CARD, README = "model.json", "README.md"
FILES: Final[Mapping[str, int]] = {**artefact.LIMITS, README: 2**20}  # the largest sizes, in bytes
LOCK = ".pull-lock"
LOCK_SECONDS = 0.2  # from one try to the next


class Incomplete(Exception):
    """A version has no card at the source yet: somebody is pushing it, and the card comes last."""


def pull(remote: Remote, number: int, model_dir: Path, *, signed: bool) -> None:
    """Add a version, after its signature if it is signed.

    Raises `Incomplete` for a version without a card, `FileNotFoundError` where another file is missing at the source,
    `ModelError` for a wrong file, and what the source's library raises.
    """
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=model_dir) as temporary:
        folder = Path(temporary) / str(number)
        folder.mkdir()
        for name, limit in FILES.items():
            try:
                _write(folder / name, remote.read(number, name, limit))
            except FileNotFoundError as error:
                if name == CARD:
                    raise Incomplete(str(error)) from None
                if name != README:
                    raise
        try:
            artefact.read_files(Path(temporary), str(number))
        except ModelError as error:
            raise ModelError(str(error).replace(f"{temporary}/", "")) from None
        if signed:  # first, since a version without one may be refused
            _add_signature(remote, number, model_dir, Path(temporary))
        files.flush(folder)
        folder.rename(model_dir / str(number))
    files.flush(model_dir)


def pull_signature(remote: Remote, number: int, model_dir: Path) -> None:
    """Add the signature of a version that is there, unless it has one; raises as `pull`."""
    if not os.path.lexists(layout.signature_path(model_dir, number)):
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=model_dir) as temporary:
            _add_signature(remote, number, model_dir, Path(temporary))
        files.flush(model_dir)


def remove(number: int, model_dir: Path) -> None:
    """Remove a version that was pulled, in one step; raises `OSError`."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=model_dir) as temporary:
        with contextlib.suppress(FileNotFoundError):
            (model_dir / str(number)).rename(Path(temporary) / str(number))
        layout.signature_path(model_dir, number).unlink(missing_ok=True)


def remove_unfinished(model_dir: Path) -> set[int]:
    """Remove what a killed process has left, and return its versions; the caller holds the folder's lock."""
    left: set[int] = set()
    for path in model_dir.glob(f"{TEMPORARY}*"):
        left.update(int(each.name) for each in path.glob("*") if re.fullmatch(layout.NUMBER, each.name))
        shutil.rmtree(path, ignore_errors=True)
    return left


@contextlib.contextmanager
def locking(model_dir: Path) -> Iterator[None]:
    """Let no other process pull into a folder while the context is open.

    Where a network file system cannot lock a folder, nobody waits. Raises `OSError` where the lock cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # without the last, a pipe waits for its reader
    descriptor = os.open(model_dir / LOCK, flags, 0o644)
    try:
        while not _try_lock(descriptor):
            time.sleep(LOCK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _add_signature(remote: Remote, number: int, model_dir: Path, temporary: Path) -> None:
    path = layout.signature_path(model_dir, number)
    _write(temporary / path.name, remote.read_signature(number, signature.MAX_BYTES))
    (temporary / path.name).rename(path)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _write(path: Path, data: bytes) -> None:
    """Write a file and flush it to the disk."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
