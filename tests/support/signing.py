"""Keys that sign versions, and signatures: good ones as the training job makes them, and such as others could make."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path  # noqa: TC003 - a field of a NamedTuple
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing

from training.export.signing import Signer, signature_path

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_PASSWORD = serialization.NoEncryption()
WRONG: tuple[Any, ...] = (None, 1, "x", [], {})  # values in the place of others


class Keys(NamedTuple):
    """The files of a pair of keys."""

    private: Path
    public: Path


def make_keys(
    folder: Path,
    name: str = "signing",
    curve: ec.EllipticCurve | None = None,
    encryption: serialization.KeySerializationEncryption = NO_PASSWORD,
) -> Keys:
    """A new pair of keys, of P-256 unless a curve is given."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    keys = Keys(folder / f"{name}.private.pem", folder / f"{name}.public.pem")
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    keys.private.write_bytes(key.private_bytes(pem, kind, encryption))
    keys.public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return keys


def sign(version: Path, keys: Keys) -> Path:
    """Sign a version in one step, as the command does; its signature."""
    unfinished = version.with_name(".signature")
    unfinished.write_bytes(Signer(keys.private).sign_folder(version))
    return unfinished.replace(signature_path(version))


def sign_otherwise(version: Path, keys: Keys, hashed: hashing.Config) -> None:
    """Sign a version with the same key, with files that are hashed in another way than the command's."""
    config = signing.Config().use_elliptic_key_signer(private_key=keys.private).set_hashing_config(hashed)
    config.sign(version, signature_path(version))


def with_checksums(version: Path, **contents: bytes) -> None:
    """Write files of a version, by their names without an ending, and their checksums into its card: as anybody can."""
    card = json.loads((version / "model.json").read_text())
    for name, key, file in (("model", "sha256", "model.onnx"), ("golden", "golden_sha256", "golden.npz")):
        if name in contents:
            (version / file).write_bytes(contents[name])
            card[key] = hashlib.sha256(contents[name]).hexdigest()
    (version / "model.json").write_text(json.dumps(card))


def statement(signature: Path) -> Any:
    """What was signed."""
    return json.loads(base64.b64decode(json.loads(signature.read_text())["dsseEnvelope"]["payload"]))


def forged(signature: Path) -> Iterator[tuple[str, bytes]]:
    """What is no signature of this version, made from one that is; by what was done to it."""
    text = signature.read_text()
    bundle = json.loads(text)

    def changed(*path: Any, to: Any) -> bytes:
        """The bundle with another value at a path."""
        copy = json.loads(text)
        owner = copy
        for key in path[:-1]:
            owner = owner[key]
        owner[path[-1]] = to
        return json.dumps(copy).encode()

    yield "nothing", b""
    yield "no text", b"\xff\xfe" + text.encode()
    yield "no JSON", text.encode()[:-2]
    yield "a list", b"[" + text.encode() + b"]"
    yield "a number of 10,000 digits", b"1" * 10_000
    yield "60,000 lists in each other", b"[" * 60_000
    yield "6,000 objects in each other", b'{"verificationMaterial":' * 2_700 + b"1" + b"}" * 2_700
    yield "an empty object", b"{}"
    for key in bundle:
        yield f"no {key}", json.dumps({name: value for name, value in bundle.items() if name != key}).encode()
        for wrong in WRONG:
            yield f"{key} {wrong!r}", changed(key, to=wrong)
    yield "another media type", changed("mediaType", to="application/vnd.dev.sigstore.bundle.v0.1+json")
    envelope = bundle["dsseEnvelope"]
    for key in envelope:
        for wrong in (*WRONG, "", ["x"]):
            yield f"{key} {wrong!r}", changed("dsseEnvelope", key, to=wrong)
    yield "another payload type", changed("dsseEnvelope", "payloadType", to="text/plain")
    signed = statement(signature)
    for resource in signed["predicate"]["resources"]:
        resource["digest"] = "00" * 32
    payload = base64.b64encode(json.dumps(signed).encode()).decode()
    yield "other digests", changed("dsseEnvelope", "payload", to=payload)
    yield "a payload that is no JSON", changed("dsseEnvelope", "payload", to="eA==")
    for sig in ("", "eA==", base64.b64encode(bytes(70)).decode()):
        yield f"the signature {sig!r}", changed("dsseEnvelope", "signatures", to=[{"sig": sig, "keyid": ""}])
    yield "no signatures", changed("dsseEnvelope", "signatures", to=[])
    for wrong in WRONG:
        yield f"the key {wrong!r}", changed("verificationMaterial", "publicKey", to=wrong)
    for hint in (None, "", 1, "0" * 64):
        yield f"the hint {hint!r}", changed("verificationMaterial", "publicKey", to={"hint": hint})
    certificate = {"certificate": {"rawBytes": "eA=="}, "tlogEntries": []}
    yield "a certificate for a key", changed("verificationMaterial", to=certificate)
