"""Publish a model version: one new folder `models/<name>/<number>/`, complete or absent.

In: the bytes of model.onnx and golden.npz, the card, and a function that renders the card as README.md. Out: the
folder. An existing version is never touched.

Versions are numbered from 101 on, so that a user's own never meet those of the project, which come with a `git pull`
and are numbered 1, 2 and 50 with `--version-number`: an earlier release numbered a user's versions 3, 4, …. The service
serves the highest number by default.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .. import files
from ..errors import UsageError
from .choice import HIGHEST, NUMBER, named_versions, read_held, write_held

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Card = Mapping[str, Any]

CARD_BYTES: Final = 2**20  # of a card that a service reads
RESERVED: Final = 100  # numbers up to this are for the project's own versions


def publish(
    folder: Path,
    model: bytes,
    golden: bytes,
    card: Card,
    render_readme: Callable[[Card], str],
    *,
    number: int | None = None,
    held: bool = False,
) -> Path:
    """Make a version below `folder` (models/<name>), with number and checksums on its card; returns its folder.

    Without a `number` it is the next above all that exist and above `RESERVED`; raises `UsageError` where the number
    exists. `render_readme` makes the text of README.md from the complete card. A version that is `held` is on the list
    of held versions before its folder appears, so that no service ever takes it for the latest. The caller holds the
    folder's lock.

    All files are written and flushed beside their final place, and appear there by one rename. The card's `run`
    publishes once: interrupted and resumed, it gets the version that it has made, and its unfinished folders go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(f".unpublished-{card['run']}-*"):
        shutil.rmtree(unfinished)
    if version := find_made_by(card["run"], folder):
        return version
    checksums = {"sha256": hashlib.sha256(model).hexdigest(), "golden_sha256": hashlib.sha256(golden).hexdigest()}
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".unpublished-{card['run']}-"))
    try:
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide the version from a service that runs as another user
        files.write(temporary / "model.onnx", model)
        files.write(temporary / "golden.npz", golden)
        return _claim_number(folder, temporary, {**card, **checksums}, render_readme, number, held=held)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def find_made_by(run: str, folder: Path) -> Path | None:
    """Return the version that a run has made, if any."""
    for path in folder.glob("*/model.json"):
        with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):  # somebody else's file
            if json.loads(files.read_small(path, CARD_BYTES) or b"").get("run") == run:
                return path.parent
    return None


def _claim_number(
    folder: Path, temporary: Path, card: Card, render_readme: Callable[[Card], str], number: int | None, *, held: bool
) -> Path:
    """Rename `temporary` to the number, or to the next free one.

    A rename onto a folder that holds files fails, so no version is lost. A number without a folder may be on the list
    of held versions, if a run was killed before it renamed its folder, or if somebody removed the folder. Then it
    means nothing. A number that the pin or the canary names is not free: services would answer with the version, held
    or not.
    """
    listed, named = read_held(folder), named_versions(folder)
    highest = max((int(path.name) for path in folder.iterdir() if re.fullmatch(NUMBER, path.name)), default=0)
    for candidate in [number] if number else range(max(RESERVED, highest) + 1, HIGHEST + 1):
        if candidate in named:
            continue
        numbered = {**card, "version": candidate}
        files.write(temporary / "model.json", json.dumps(numbered, indent=2).encode() + b"\n")
        files.write(temporary / "README.md", render_readme(numbered).encode())
        files.flush(temporary)
        version = folder / str(candidate)
        if version.is_dir() and any(version.iterdir()):
            continue
        write_held(folder, listed | {candidate} if held else listed - {candidate})
        try:
            temporary.rename(version)
        except OSError:
            write_held(folder, listed)
            if not version.exists():
                raise
            continue  # another run was first
        files.flush(folder)
        return version
    taken = f"--version-number {number} exists" if number else "no number after the highest is free"
    named_too = ", or the pin or the canary names it" if number in named else ""
    raise UsageError(f"{taken} in {folder}{named_too}: add another one to --resume, and nothing is lost")
