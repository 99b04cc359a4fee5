"""Copy a version to a place from which services pull it (MNIST_MODEL_SOURCE).

In: a version's folder, and the address of an object store, of a repository of the Hugging Face Hub or of an OCI
registry, or a folder that a web server serves. Out: the version's files there, and its signature where there is one
beside the folder. The card comes last, or all files in one step, so that no service finds half a version. A version
that is there already is never changed.

    python -m training push models/mnist-mlp/101 s3://bucket/mnist-mlp
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import files
from ..errors import PushError, UsageError
from .choice import NUMBER, read_held
from .publish import CARD_BYTES, SCHEMA
from .push_targets import CARD, SIGNATURE, open_target

if TYPE_CHECKING:
    import argparse

    from .push_targets import Target

HELP: Final = "copy a version to where services pull it from"
README: Final = "README.md"
# The largest sizes that a service reads, in bytes. The card is the last: a version is there when its card is.
LIMITS: Final = {"model.onnx": 32 * 2**20, "golden.npz": 2**20, README: 2**20, CARD: CARD_BYTES}
SIGNATURE_BYTES: Final = 2**16
CHECKSUMS: Final = {"model.onnx": "sha256", "golden.npz": "golden_sha256"}  # the card's keys


class Version(NamedTuple):
    """A version's files by name, the card last, and its signature where there is one."""

    number: str
    files: dict[str, bytes]
    signature: bytes | None

    @classmethod
    def read(cls, folder: Path) -> Version:
        """Read a version's folder; raises `UsageError` where services could not serve it, or pass over it."""
        folder = folder.resolve()
        if not re.fullmatch(NUMBER, folder.name):
            raise UsageError(f"{folder}: expected the folder of a version, whose name is its number")
        try:
            found = {name: files.read_small(folder / name, limit) for name, limit in LIMITS.items()}
            signature = files.read_small(folder.with_name(f"{folder.name}{SIGNATURE}"), SIGNATURE_BYTES)
        except OSError as error:
            raise UsageError(f"{error.filename}: {error.strerror}") from None
        if missing := [name for name, content in found.items() if content is None and name != README]:
            raise UsageError(f"{folder}: expected a version, found no {missing[0]}")
        version = cls(folder.name, {name: content for name, content in found.items() if content is not None}, signature)
        version._check(folder)
        if int(folder.name) in read_held(folder.parent):
            raise UsageError(
                f"{folder}: the version is held, and services that pull it would serve it; "
                f"`python -m service promote {folder.name}` ends that"
            )
        return version

    def _check(self, folder: Path) -> None:
        try:
            card = json.loads(self.files[CARD])
        except ValueError as error:
            raise UsageError(f"{folder}/{CARD}: expected JSON, found {error}") from None
        if not isinstance(card, dict) or card.get("schema") != SCHEMA or str(card.get("version")) != self.number:
            raise UsageError(f"{folder}/{CARD}: expected the card of version {self.number}, of schema {SCHEMA}")
        for name, key in CHECKSUMS.items():
            if card.get(key) != hashlib.sha256(self.files[name]).hexdigest():
                raise UsageError(f"{folder}/{name}: its checksum is not that of the card")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("folder", type=Path, help="the version's folder, models/<name>/<n>")
    parser.add_argument(
        "target", help="s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, hf://NAMESPACE/NAME, oci://REGISTRY/NAME, or a folder"
    )


def run(given: dict[str, Any]) -> None:
    """Push, and print what was done; raises `UsageError` or `PushError`."""
    version, address = Version.read(given["folder"]), given["target"].rstrip("/")
    try:
        done = push(version, open_target(address))
    except FileExistsError:
        raise PushError(f"{address}: somebody else has pushed another version {version.number} meanwhile") from None
    except (PushError, UsageError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:400]
        raise PushError(f"{address}: version {version.number} is not pushed: {type(error).__name__} {words}") from error
    print(f"version {version.number} {done} {address}")


def push(version: Version, target: Target) -> str:
    """Copy what is missing; return what was done, in words. Raises `PushError` where there is another version."""
    contents = {f"{version.number}/{name}": content for name, content in version.files.items()}
    missing: dict[str, bytes] = {}
    if not target.has(f"{version.number}/{CARD}"):
        missing = contents
    elif others := [path for path, content in contents.items() if not target.same(path, content)]:
        raise PushError(
            f"there is another version {version.number} already, with another {others[0].partition('/')[2]}; "
            "a version is never changed: publish yours under a number of its own"
        )
    signature = f"{version.number}{SIGNATURE}"
    if version.signature is not None and not target.same(signature, version.signature):
        missing = {signature: version.signature, **missing}  # first, since a version without one may be refused
    if missing:
        target.write(missing)
    if len(missing) == 1:
        return "was there; its signature is pushed to"
    return "is pushed to" if missing else "is there already:"
