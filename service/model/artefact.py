"""The artefact of one model version: read and verify the files of `<model_dir>/<n>/`.

In: `model.onnx`, `model.json`, `golden.npz`, and where it is demanded the version's signature. Out: `Files` with the
right checksums, and an `Artefact`, or one `ModelError` that names the file, what was expected and what was found.
Checksum and signature cover the very bytes that the runtime is then given. It knows the contract of these files
(models/README.md), and does not run the model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ..errors import ModelError
from ..system import files
from . import layout, operators, signature

if TYPE_CHECKING:
    from ..arrays import Pixels, Probabilities

SCHEMA = "mnist-mlp/1"  # see models/README.md
# Bytes of each file. A model of this size takes five times as much memory while it is checked, and twice in a worker.
LIMITS = {"model.json": 2**20, "model.onnx": 32 * 2**20, "golden.npz": 2**20}
MAX_NAME = 80  # characters of a model's name, which responses quote


class Files(NamedTuple):
    """The contents of a version's files, read once, with the checksums that the card names."""

    folder: Path
    card: bytes
    model: bytes
    golden: bytes
    signature: bytes = b""
    keys: bytes = b""  # of which one must have made the signature; empty where none is demanded

    @property
    def digest(self) -> bytes:
        """The digest of all that is checked: the card holds the checksums of model and golden batch."""
        parts = (self.card, self.signature, self.keys)
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()

    def contents(self) -> dict[str, bytes]:
        """Return the files in the version's folder, by name."""
        return dict(zip(LIMITS, (self.card, self.model, self.golden), strict=True))


@dataclass(frozen=True)
class Artefact:
    """A version whose files are consistent."""

    name: str
    version: str
    sha256: str
    model: bytes
    card: dict[str, Any]
    golden_images: Pixels  # uint8[M,1,28,28]
    golden_probabilities: Probabilities  # float32[M,10]


def read(model_dir: Path, version: str = "latest", keys: bytes = b"") -> Artefact:
    """Read and check `model_dir/version`; `latest` is the highest number. Raises `ModelError`.

    With public `keys`, in PEM, one of them must have signed it.
    """
    return check(read_files(model_dir, version, keys))


def read_files(model_dir: Path, version: str = "latest", keys: bytes = b"") -> Files:
    """Read the files of `model_dir/version` and check their checksums; raises `ModelError`. With `keys`, see `read`."""
    folder = model_dir / (version if version != layout.LATEST else str(layout.numbers(model_dir)[0]))
    try:
        with files.open_folder(folder) as descriptor:
            found = Files(folder, *(_bytes(folder / name, limit, descriptor) for name, limit in LIMITS.items()))
    except NotADirectoryError:
        stands = "a symbolic link" if folder.is_symlink() else "something else"
        raise ModelError(f"{folder}: expected a folder, found {stands}") from None
    except OSError as error:
        raise ModelError(f"{folder}/model.json: expected a readable file, found {error.strerror}") from None
    card = _card(found)
    _check_hash(folder / "model.onnx", found.model, card["sha256"])
    _check_hash(folder / "golden.npz", found.golden, card["golden_sha256"])
    return found._replace(signature=signature.read(model_dir, folder.name), keys=keys) if keys else found


def check(found: Files) -> Artefact:
    """Parse files after verifying the signature that is demanded, and the model's operators; raises `ModelError`."""
    if found.keys:
        from . import verification  # noqa: PLC0415 - its library is an extra, and takes 0.3 s

        verification.verify(found)
    operators.check(f"{found.folder}/model.onnx", found.model)
    return parse(found)


def parse(found: Files) -> Artefact:
    """Parse files that were checked before, perhaps by another process; raises `ModelError`."""
    from . import golden  # noqa: PLC0415 - a check begins before NumPy is imported

    card = _card(found)
    images, probabilities = golden.read(f"{found.folder}/golden.npz", found.golden)
    return Artefact(card["name"], str(card["version"]), card["sha256"], found.model, card, images, probabilities)


def _bytes(path: Path, limit: int, folder: int) -> bytes:
    try:
        return files.read(Path(path.name), limit, name=str(path), folder=folder).data
    except FileNotFoundError as error:
        raise ModelError(f"{path}: expected a readable file, found {error.strerror}") from None


def _check_hash(path: Path, data: bytes, expected: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ModelError(
            f"{path}: expected sha256 {expected[:64]} (model.json), found {found} over {len(data):,} bytes: "
            "the file is truncated or altered"
        )


def _card(found: Files) -> dict[str, Any]:
    path = found.folder / "model.json"
    try:
        card = orjson.loads(found.card)
    except orjson.JSONDecodeError as error:
        raise ModelError(f"{path}: expected JSON, found {error}") from None
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        schema = card.get("schema") if isinstance(card, dict) else type(card).__name__
        raise ModelError(f"{path}: expected schema {SCHEMA!r}, found {_quoted(schema)}")
    for key, kind in (("name", str), ("version", int), ("sha256", str), ("golden_sha256", str)):
        if not isinstance(card.get(key), kind):
            raise ModelError(f"{path}: expected {key} to be of type {kind.__name__}, found {_quoted(card.get(key))}")
    if not (0 < len(card["name"]) <= MAX_NAME and card["name"].isprintable()):
        raise ModelError(
            f"{path}: expected a name of 1 to {MAX_NAME} printable characters, found {_quoted(card['name'])}"
        )
    if str(card["version"]) != found.folder.name:
        raise ModelError(f"{path}: expected version {found.folder.name} (its folder), found {card['version']}")
    return card


def _quoted(value: object) -> str:
    return type(value).__name__ if isinstance(value, dict | list) else repr(value)[:80]
