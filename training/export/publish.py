"""The one moment at which a model version comes to be.

In: the bytes of model.onnx and golden.npz, the card, and how a card reads in words. Out: a folder `models/<name>/<n>/`,
whole, or none. An existing version is never touched. It knows nothing of what is in the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files as disk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Card = Mapping[str, Any]


def publish(folder: Path, model: bytes, golden: bytes, card: Card, readme: Callable[[Card], str]) -> Path:
    """Make the next version below `folder` (models/<name>), with number and checksums on its card; returns its folder.

    `readme` makes the text of README.md from the whole card.

    All is written and flushed to the disk beside its final place, and appears there by one rename. The card's `run`
    publishes once: cut off and come again, it gets the version that it has made, and what it left unfinished goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(f".unpublished-{card['run']}-*"):
        shutil.rmtree(unfinished)
    if version := _made_by(card["run"], folder):
        return version
    checksums = {"sha256": hashlib.sha256(model).hexdigest(), "golden_sha256": hashlib.sha256(golden).hexdigest()}
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".unpublished-{card['run']}-"))
    try:
        temporary.chmod(0o755)  # mkdtemp's 0700 would hide the version from a service that runs as another user
        disk.write(temporary / "model.onnx", model)
        disk.write(temporary / "golden.npz", golden)
        return _take_number(folder, temporary, {**card, **checksums}, readme)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _made_by(run: str, folder: Path) -> Path | None:
    """The version that a run has made, if it has."""
    for path in folder.glob("*/model.json"):
        with contextlib.suppress(OSError, ValueError):  # what others have put there
            if json.loads(path.read_text()).get("run") == run:
                return path.parent
    return None


def _take_number(folder: Path, temporary: Path, card: Card, readme: Callable[[Card], str]) -> Path:
    """Rename `temporary` to the next free number: a rename onto a folder that holds files fails, so none is lost."""
    number = 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0)
    while True:
        numbered = {**card, "version": number}
        disk.write(temporary / "model.json", json.dumps(numbered, indent=2).encode() + b"\n")
        disk.write(temporary / "README.md", readme(numbered).encode())
        disk.flush(temporary)
        version = folder / str(number)
        try:
            temporary.rename(version)
        except OSError:
            if not version.exists():
                raise
            number += 1  # another run was first
        else:
            disk.flush(folder)
            return version
