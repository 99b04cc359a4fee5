"""Verify the signature of a version over the bytes that then run: OpenSSF Model Signing, with public keys.

In: the files of a version, with its signature and the keys of which one must have made it. Out: nothing, or one
`ModelError` that names the signature's file, the version, and what was found. It is imported only where a setting
demands signatures: its library takes 0.3 s and 60 MiB of address space, so the process that checks a version imports it
before its memory is limited. What the service relies on in the library's private modules is in
`tests/unit/test_contracts.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from model_signing._signing.sign_ec_key import Verifier
from model_signing._signing.sign_sigstore_pb import Signature

from ..errors import ModelError
from ..system import memory
from . import layout, signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .artefact import Files

MAX_FOUND = 160  # characters of a library's error in a sentence


def verify(files: Files) -> None:
    """Verify that one of the keys has signed these very bytes; raises `ModelError`."""
    signed = _signed(files)
    for name, data in files.contents().items():
        if name not in signed:
            raise _refusal(files, f"one without {name}")
        found = f"sha256 {hashlib.sha256(data).hexdigest()}"
        if signed[name] != found:
            raise _refusal(files, f"one of other bytes: {signed[name]} of {name}, which has {found}")


def _signed(files: Files) -> dict[str, str]:
    """Return the algorithm and the digest of each file in the folder that was signed; raises `ModelError`."""
    try:
        with _in_memory(files.signature) as path:
            found = Signature.read(path)
        named = found.bundle.verification_material.public_key
        keys = {hashlib.sha256(key).hexdigest(): key for key in signature.parse_keys(files.keys)}
        if named is None or not named.hint:
            raise _refusal(files, "one that names no key, as of an identity, a certificate or an early release")
        if named.hint not in keys:
            raise _refusal(files, f"one by a key that {signature.SETTING} does not have")
        with _in_memory(keys[named.hint]) as path:
            manifest = Verifier(path).verify(found)
        descriptors = [(each.identifier, each.digest) for each in manifest.resource_descriptors()]
        return {name: f"{digest.algorithm} {digest.digest_hex}" for name, digest in descriptors}
    except InvalidSignature:
        raise _refusal(files, "one that was altered: its key has not made it") from None
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - JSON, base64 and pydantic raise a dozen unrelated classes
        found_words = " ".join(f"{type(error).__name__} {error}".split())[:MAX_FOUND]
        raise _refusal(files, f"none in OpenSSF's format: {found_words}") from None


def _refusal(files: Files, found: str) -> ModelError:
    path = layout.signature_path(files.folder.parent, files.folder.name)
    return ModelError(f"{path}: expected a signature of version {files.folder.name}, found {found}")


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[Path]:
    """Give the library, which reads files, a path to these bytes while the context is open."""
    with os.fdopen(memory.anonymous_file("mnist-mlp"), "w+b", buffering=0) as file:
        file.write(data)
        file.seek(0)
        yield Path(f"/dev/fd/{file.fileno()}")
