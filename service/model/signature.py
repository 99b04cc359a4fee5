"""Signed versions: the signature beside a version's folder, and the public keys of which one must have made it.

In: the settings, and a version's number. Out: the bytes of `<model_dir>/<n>.sig` and of the file of keys, or one error
that names the file. It verifies nothing (`service.model.verification`): the extra's library, model-signing, is loaded
by the process that checks a version. Without the setting, no signature is read.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import ModelError, SettingsError
from ..system import files
from . import layout

if TYPE_CHECKING:
    from pathlib import Path

    from ..settings import Settings

SETTING = "MNIST_MODEL_PUBLIC_KEY"
MAX_BYTES = 2**16  # of a signature, which has 2 KB
MAX_KEYS_BYTES = 2**14  # of a file of keys, of which each has 180 bytes or 270
BLOCK = re.compile(b"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
CURVES = ("secp256r1", "secp384r1", "secp521r1")  # P-256, P-384 and P-521, as the format allows


def paths(settings: Settings, number: int) -> tuple[Path, ...]:
    """Return the files beside a version that decide whether it may serve; they need not be there."""
    if settings.model_public_key is None:
        return ()
    return layout.signature_path(settings.model_dir, number), settings.model_public_key


def read_keys(settings: Settings) -> bytes:
    """Return the public keys, in PEM, of which one must have signed a version; raises `SettingsError`.

    It is empty where no setting names them, and versions need no signature.
    """
    path = settings.model_public_key
    if path is None:
        return b""
    if not (find_spec("model_signing") and find_spec("OpenSSL")):
        raise SettingsError(f"{SETTING}: model-signing is not installed; pip install '.[signing]'")
    try:
        return b"".join(parse_keys(files.read(path, MAX_KEYS_BYTES, name=str(path), follow=True).data))
    except FileNotFoundError as error:
        raise SettingsError(f"{SETTING}: {path}: expected a readable file, found {error.strerror}") from None
    except ModelError as error:
        raise SettingsError(f"{SETTING}: {error}") from None
    except ValueError as error:
        expected = "public keys of P-256, P-384 or P-521 in PEM"
        raise SettingsError(f"{SETTING}: {path}: expected {expected}, found {error}") from None


def parse_keys(pem: bytes) -> list[bytes]:
    """Return each public key of a file, in PEM as signatures name it by its SHA-256; raises `ValueError`."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - of the extra
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey  # noqa: PLC0415

    blocks = BLOCK.findall(pem)
    if not blocks or pem.count(b"-----BEGIN ") > len(blocks):
        raise ValueError(f"{len(blocks)} of them and another block" if blocks else "none")
    keys = []
    for number, block in enumerate(blocks, start=1):
        try:
            key = serialization.load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError(f"that number {number} is damaged") from None
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in CURVES:
            raise ValueError(f"that number {number} is of another kind")
        keys.append(key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return keys


def read(model_dir: Path, number: str) -> bytes:
    """Return the signature of a version; raises `ModelError`."""
    path = layout.signature_path(model_dir, number)
    try:
        return files.read(path, MAX_BYTES, name=str(path)).data
    except FileNotFoundError:
        raise ModelError(
            f"{path}: expected a signature of version {number}, as {SETTING} demands, found none"
        ) from None
