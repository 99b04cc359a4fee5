"""The card, and the one moment at which a model version comes to be.

In: the facts of a run and the bytes of its files. Out: a folder `models/<name>/<n>/`, whole, or none. An existing version is
never touched. It knows nothing of networks or digits.

The card, model.json, has schema 1: every key below is there, and a reader refuses any other schema.

    schema      1
    name        the model's name, that of the folder above
    version     "1", "2", …: the name of the folder
    created     UTC, ISO 8601 to the second
    sha256      of model.onnx, hexadecimal; `golden_sha256` of golden.npz
    opset       of ONNX's own operators
    inputs      [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    outputs     [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]
    pixels      what the numbers of an image mean, in words
    labels      the digit that each column of the probabilities stands for
    metrics     by data set ("validation", "test"): count, accuracy, nll, ece, recall by class, confusion[true][predicted]
    parity      {"images": N, "max_difference": of probabilities, PyTorch against ONNX Runtime}
    temperature that the logits are divided by, in the graph
    training    {"recipe", "seed", "seconds", "epochs": [facts of each], "knobs": every knob but this machine's folders}
    data        {"source", "sha256": by file, uncompressed, "train", "validation", "test": counts, "warnings": sentences}
    git         {"commit", "dirty"}; commit is "unknown" and dirty null outside git
    libraries   versions of Python and of the libraries that took part
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = 1
LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "onnxscript", "torch")
INTERFACE: Final[Mapping[str, Any]] = {
    "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}],
    "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    "pixels": "rows of 0 (dark ground) to 255 (light ink), as MNIST stores them; nothing else is to be done to them",
    "labels": [str(digit) for digit in range(10)],
}


def publish(folder: Path, model: bytes, golden: bytes, facts: Mapping[str, Any]) -> Path:
    """Make the next version below `folder` (models/<name>) of the two files and the card; returns its folder.

    Everything is written and flushed to the disk beside its final place, and appears there by one rename. Where another run
    takes the number first, the next one is tried.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=".unpublished-"))
    try:
        temporary.chmod(0o755)
        _write(temporary / "model.onnx", model)
        _write(temporary / "golden.npz", golden)
        card = {"schema": SCHEMA, "name": folder.name, "version": "", **_identity(model, golden), **INTERFACE, **facts}
        return _take_number(folder, temporary, card)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_number(folder: Path, temporary: Path, card: dict[str, Any]) -> Path:
    number = 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0)
    while True:
        card["version"] = str(number)
        _write(temporary / "model.json", json.dumps(card, indent=2).encode() + b"\n")
        _flush_folder(temporary)
        try:
            temporary.rename(folder / str(number))
        except OSError:
            if not (folder / str(number)).exists():
                raise
            number += 1
        else:
            _flush_folder(folder)
            return folder / str(number)


def _identity(model: bytes, golden: bytes) -> dict[str, Any]:
    """What depends on the moment and the machine, and the checksums."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": hashlib.sha256(model).hexdigest(),
        "golden_sha256": hashlib.sha256(golden).hexdigest(),
        "git": git_state(),
        "libraries": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }


def git_state() -> dict[str, Any]:
    """The commit of this code and whether the tree differs from it; "unknown" and null outside git."""
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return {"commit": commit or "unknown", "dirty": None if status is None else bool(status)}


def _git(*words: str) -> str | None:
    command = ("git", "-C", str(Path(__file__).parent), *words)
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
