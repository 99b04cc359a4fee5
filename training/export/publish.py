"""Publish a model version: one new folder `models/<name>/<number>/`, complete or absent.

In: the bytes of model.onnx and golden.npz, the card, and functions that render the card as README.md and sign the
files. Out: the folder, and its signature `models/<name>/<number>.sig`, if it is signed. An existing version is never
touched.

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
from .signing import signature_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Card = Mapping[str, Any]
    Sign = Callable[[int, Mapping[str, bytes]], bytes]  # from a version's number, and its files by name

SCHEMA: Final = "mnist-mlp/1"  # of a card
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
    sign: Sign | None = None,
) -> Path:
    """Make a version below `folder` (models/<name>), with number and checksums on its card; returns its folder.

    Without a `number` it is the next above all that exist and above `RESERVED`; raises `UsageError` where the number
    exists. `render_readme` makes the text of README.md from the complete card. A version that is `held` is on the list
    of held versions before its folder appears, so that no service ever takes it for the latest. With `sign`, its
    signature is there before its folder appears. The caller holds the folder's lock.

    All files are written and flushed beside their final place, and appear there by one rename. The card's `run`
    publishes once: interrupted and resumed, it gets the version that it has made, and its unfinished folders go. Such a
    version is not signed, because the card of anybody may name the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(f".unpublished-{card['run']}-*"):
        shutil.rmtree(unfinished)
    if version := find_made_by(card["run"], folder):
        return version
    checksums = {"sha256": hashlib.sha256(model).hexdigest(), "golden_sha256": hashlib.sha256(golden).hexdigest()}
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".unpublished-{card['run']}-"))
    arrays = {"model.onnx": model, "golden.npz": golden}
    try:
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide the version from a service that runs as another user
        for name, content in arrays.items():
            files.write(temporary / name, content)
        sign_all = sign and (lambda candidate, texts: sign(candidate, {**arrays, **texts}))
        return _claim_number(folder, temporary, {**card, **checksums}, render_readme, number, held=held, sign=sign_all)
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
    folder: Path,
    temporary: Path,
    card: Card,
    render_readme: Callable[[Card], str],
    number: int | None,
    *,
    held: bool,
    sign: Sign | None,
) -> Path:
    """Rename `temporary` to the number, or to the next free one. `sign` gets the files that have the number in them.

    A rename onto a folder that holds files fails, so no version is lost. A number without a folder may be on the list
    of held versions, or have a signature, if a run was killed before it renamed its folder, or if somebody removed the
    folder. Then it means nothing. A number that the pin or the canary names is not free: services would answer with the
    version, held or not.
    """
    listed, named = read_held(folder), named_versions(folder)
    highest = max((int(path.name) for path in folder.iterdir() if re.fullmatch(NUMBER, path.name)), default=0)
    for candidate in [number] if number else range(max(RESERVED, highest) + 1, HIGHEST + 1):
        if candidate in named:
            continue
        numbered = {**card, "version": candidate}
        card_text = json.dumps(numbered, indent=2) + "\n"
        texts = {"model.json": card_text.encode(), "README.md": render_readme(numbered).encode()}
        for name, content in texts.items():
            files.write(temporary / name, content)
        files.flush(temporary)
        version = folder / str(candidate)
        if version.is_dir() and any(version.iterdir()):
            continue
        _write_signature(version, sign and sign(candidate, texts))
        write_held(folder, listed | {candidate} if held else listed - {candidate})
        try:
            temporary.rename(version)
        except OSError:
            write_held(folder, listed)
            _write_signature(version, None)
            if not version.exists():
                raise
            continue  # another run was first
        files.flush(folder)
        return version
    taken = f"--version-number {number} exists" if number else "no number after the highest is free"
    named_too = ", or the pin or the canary names it" if number in named else ""
    raise UsageError(f"{taken} in {folder}{named_too}: add another one to --resume, and nothing is lost")


def _write_signature(version: Path, signature: bytes | None) -> None:
    """Write the signature of a version whose folder is about to appear, durably, or remove what is in its place."""
    if signature is None:
        signature_path(version).unlink(missing_ok=True)
    else:
        files.replace(signature_path(version), signature)
