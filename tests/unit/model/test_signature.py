"""Only signed versions serve where MNIST_MODEL_PUBLIC_KEY names keys: what passes, and what is refused in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing

from service.errors import ModelError, SettingsError
from service.model import artefact, check, layout, signature
from service.settings import Settings
from tests.support import hostile_models
from tests.support.hostile_bodies import with_changed_bytes
from tests.support.processes import forget_memory, most_memory
from tests.support.service import ROOT
from tests.support.signing import forged, make_keys, sign, sign_otherwise, with_checksums
from training.export import signing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.signing import Keys

MEBIBYTE = 2**20
HASHED = hashing.Config()
ALTERED = 40  # models; `make hostile` alters 1,000


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def settings(models: Path, keys: Keys) -> Settings:
    """Version 1, and a key without which nothing serves."""
    return Settings.model_validate({"model_dir": models, "model_public_key": keys.public})


@pytest.fixture
def signed(settings: Settings, keys: Keys) -> Path:
    """The signature of version 1."""
    return sign(settings.model_dir / "1", keys)


def refusal_of(settings: Settings) -> str:
    """Check version 1 in a process of its own; what its refusal says after the file and the version."""
    with pytest.raises(ModelError) as refusal:
        check.check(settings, 1)
    return found_in(settings, str(refusal.value))


def found_in(settings: Settings, sentence: str) -> str:
    begin = f"{settings.model_dir}/1.sig: expected a signature of version 1, found "
    assert sentence.startswith(begin)
    assert "\n" not in sentence
    assert len(sentence) < 500 + len(begin)
    return sentence.removeprefix(begin)


def test_a_signed_version_passes(settings: Settings, signed: Path) -> None:
    """In the process that checks versions; the words of its README.md, which nobody runs, may change."""
    check.check(settings, 1)
    (settings.model_dir / "1" / "README.md").write_text("other words")
    check.check(settings, 1)


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=["P-384", "P-521"])
def test_each_curve_of_the_format_passes(settings: Settings, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    """As P-256 does, which the documents recommend."""
    keys = make_keys(tmp_path, curve=curve)
    sign(settings.model_dir / "1", keys)
    check.check(settings.model_copy(update={"model_public_key": keys.public}), 1)


def test_each_of_several_keys_passes(settings: Settings, signed: Path, keys: Keys, tmp_path: Path) -> None:
    """While one key takes the place of another; what stands between them is for people, and no key."""
    other = make_keys(tmp_path, "other")
    both = tmp_path / "both.pem"
    both.write_text(f"# until spring\n{keys.public.read_text()}\n\r\n# from spring on\n{other.public.read_text()}")
    settings = settings.model_copy(update={"model_public_key": both})
    check.check(settings, 1)
    sign(settings.model_dir / "1", other)
    check.check(settings, 1)


def test_an_unsigned_version_is_refused(settings: Settings) -> None:
    """The line names the version, the file that is missing and the setting."""
    with pytest.raises(ModelError) as refusal:
        check.check(settings, 1)
    expected = "expected a signature of version 1, as MNIST_MODEL_PUBLIC_KEY demands, found none"
    assert str(refusal.value) == f"{settings.model_dir}/1.sig: {expected}"


def test_a_signature_of_another_key_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Whoever made it."""
    sign(settings.model_dir / "1", make_keys(tmp_path))
    assert refusal_of(settings) == "one by a key that MNIST_MODEL_PUBLIC_KEY does not have"


@pytest.mark.parametrize("name", layout.FILES)
def test_a_signature_of_other_bytes_is_refused(settings: Settings, signed: Path, name: str) -> None:
    """Of each file, though the checksums in the card are right."""
    version = settings.model_dir / "1"
    data = (version / name).read_bytes()
    match name:
        case "model.onnx":
            with_checksums(version, model=next(with_changed_bytes(data, count=1)))
        case "golden.npz":
            with_checksums(version, golden=data + b"\0")
        case _:
            (version / name).write_bytes(data + b"\n")
    reason = refusal_of(settings)
    assert reason.startswith("one of other bytes: sha256 ")
    assert "model.json, which has sha256 " in reason  # the first: it holds the checksums of the others


def test_a_signature_of_another_version_is_refused(settings: Settings, signed: Path) -> None:
    """The card, which is signed, has the number."""
    (settings.model_dir / "1").rename(settings.model_dir / "2")
    signed.rename(settings.model_dir / "2.sig")
    with pytest.raises(ModelError, match=r"2/model.json: expected version 2 \(its folder\), found 1"):
        check.check(settings, 2)


def test_a_signature_that_leaves_a_file_out_is_refused(settings: Settings, keys: Keys) -> None:
    """It would let anybody change this file."""
    sign_otherwise(settings.model_dir / "1", keys, hashing.Config().set_ignored_paths(paths=["model.onnx"]))
    assert refusal_of(settings) == "one without model.onnx"


def test_a_signature_of_pieces_or_of_other_hashes_is_refused(settings: Settings, keys: Keys) -> None:
    """The service compares the SHA-256 of whole files."""
    sign_otherwise(settings.model_dir / "1", keys, hashing.Config().use_shard_serialization())
    assert refusal_of(settings) == "one without model.json"
    sign_otherwise(settings.model_dir / "1", keys, hashing.Config().use_file_serialization(hashing_algorithm="blake3"))
    assert refusal_of(settings).startswith("one of other bytes: blake3 ")


def test_a_signature_is_a_file_of_limited_size(settings: Settings, signed: Path) -> None:
    """No link, no pipe, no folder, and not more than 64 KiB."""
    content = signed.read_bytes()
    signed.write_bytes(content.ljust(2**16))
    check.check(settings, 1)
    for stands, expected in (
        (lambda: signed.write_bytes(content.ljust(2**16 + 1)), "expected at most 65,536 bytes, found 65,537"),
        (lambda: signed.symlink_to("elsewhere"), "expected a readable file, found a symbolic link"),
        (lambda: os.mkfifo(signed), "expected a regular file, found a pipe or a device"),
        (signed.mkdir, "expected a readable file, found Is a directory"),
    ):
        signed.unlink()
        stands()
        with pytest.raises(ModelError) as refusal:
            check.check(settings, 1)
        assert str(refusal.value) == f"{signed}: {expected}"


def test_a_forged_signature_is_refused_in_one_line(settings: Settings, signed: Path, keys: Keys) -> None:
    """However it was forged; nothing of it is printed, and what it costs is limited by its size."""
    files = artefact.read_files(settings.model_dir, "1", signature.read_keys(settings))
    artefact.check(files)
    for name, content in forged(signed):
        with pytest.raises(ModelError) as refusal:
            artefact.check(files._replace(signature=content))
        assert found_in(settings, str(refusal.value)), name


def test_what_a_forged_signature_says_is_cut(settings: Settings, signed: Path) -> None:
    """By the process, which answers with a thousand bytes at most, without control characters."""
    signed.write_text('{"verificationMaterial": {"publicKey": {"hint": "\\u001b[31m%s"}}}' % ("x" * 60_000))
    forget_memory(os.getpid())
    before = most_memory(os.getpid())
    assert refusal_of(settings).startswith("none in OpenSSF's format: ")
    assert most_memory(os.getpid()) - before < 20 * MEBIBYTE


def test_no_altered_model_passes(settings: Settings, signed: Path) -> None:
    """Not one byte of it, whatever checksum the card has: without a signature, a few in a hundred pass."""
    version = settings.model_dir / "1"
    keys, model = signature.read_keys(settings), (version / "model.onnx").read_bytes()
    for altered in with_changed_bytes(model, count=ALTERED):
        with_checksums(version, model=altered)
        with pytest.raises(ModelError, match="found one of other bytes"):
            artefact.read(settings.model_dir, "1", keys)


def test_the_largest_model_passes_with_its_signature(settings: Settings, keys: Keys) -> None:
    """The library that verifies takes nothing of the memory that the model has."""
    side = int((artefact.LIMITS["model.onnx"] / 4 - 784 * 10) ** 0.5) - 100
    constants = {"wide": np.zeros((10, side)), "square": np.ones((side, side)), "back": np.zeros((side, 10))}
    model = hostile_models.layers({name: array.astype(np.float32) for name, array in constants.items()})
    shutil.rmtree(settings.model_dir / "1")
    hostile_models.publish(settings.model_dir / "1", model)
    sign(settings.model_dir / "1", keys)
    check.check(settings, 1)


def test_what_was_checked_is_of_one_signature_and_of_the_same_keys(settings: Settings, signed: Path) -> None:
    """A version that passed without a signature, or with another key, has to pass again."""
    keys = signature.read_keys(settings)
    unsigned, files = artefact.read_files(settings.model_dir, "1"), artefact.read_files(settings.model_dir, "1", keys)
    others = [unsigned, files._replace(signature=b"x"), files._replace(keys=b"x"), files._replace(card=b"x")]
    assert len({files.digest, *(each.digest for each in others)}) == 5
    assert files.digest == artefact.read_files(settings.model_dir, "1", keys).digest


def test_the_library_is_loaded_only_for_a_signature(
    settings: Settings, signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the process that checks a version: here a library that cannot be loaded."""
    (tmp_path / "model_signing.py").write_text("raise ImportError('it is not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check.check(settings.model_copy(update={"model_public_key": None}), 1)
    with pytest.raises(ModelError, match="the check ends with exit code 1"):
        check.check(settings, 1)


def test_without_a_setting_nothing_is_read(models: Path) -> None:
    """Neither a signature nor a key; and no module of the extra is loaded."""
    settings = Settings.model_validate({"model_dir": models})
    (models / "1.sig").write_text("something else")
    assert signature.read_keys(settings) == b""
    assert signature.paths(settings, 1) == ()
    check.check(settings, 1)
    code = (
        "import sys, service.app, service.__main__\n"
        "from service.model import signature\n"
        "from service.settings import Settings\n"
        "signature.read_keys(Settings())\n"
        "print({'cryptography', 'model_signing', 'sigstore'} & {name.partition('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "found none"),
        ("words", "found none"),
        ("{private}", "found none"),
        ("{public}{private}", "found 1 of them and another block"),
        ("{public}-----BEGIN PUBLIC KEY-----\nMFkw", "found 1 of them and another block"),
        ("{public}-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----", "found that number 2 is damaged"),
        ("{public}{k1}", "found that number 2 is of another kind"),
        ("{rsa}", "found that number 1 is of another kind"),
    ],
)
def test_a_file_that_holds_no_keys_is_a_bad_setting(keys: Keys, tmp_path: Path, content: str, found: str) -> None:
    """The line names setting and file, what was expected and what was found, and quotes nothing of the file."""
    k1 = make_keys(tmp_path, "k1", ec.SECP256K1()).public.read_text()
    pair = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, check=True).stdout
    command = ["openssl", "rsa", "-pubout"]
    rsa = subprocess.run(command, input=pair, capture_output=True, check=True).stdout.decode()
    file = tmp_path / "keys.pem"
    file.write_text(content.format(public=keys.public.read_text(), private=keys.private.read_text(), k1=k1, rsa=rsa))
    with pytest.raises(SettingsError) as refusal:
        signature.read_keys(Settings.model_validate({"model_public_key": file}))
    expected = f"MNIST_MODEL_PUBLIC_KEY: {file}: expected public keys of P-256, P-384 or P-521 in PEM, {found}"
    assert str(refusal.value) == expected


def test_a_file_of_keys_that_cannot_be_read_is_a_bad_setting(keys: Keys, tmp_path: Path) -> None:
    """A missing one, a folder, a pipe, one of more than 16 KiB; a link is followed, because a setting names it."""
    (tmp_path / "large").write_text(keys.public.read_text().ljust(2**14 + 1))
    (tmp_path / "link").symlink_to(keys.public)
    os.mkfifo(tmp_path / "pipe")
    for name, expected in (
        ("none", "expected a readable file, found No such file or directory"),
        (".", "expected a readable file, found Is a directory"),
        ("pipe", "expected a regular file, found a pipe or a device"),
        ("large", "expected at most 16,384 bytes, found 16,385"),
    ):
        with pytest.raises(SettingsError) as refusal:
            signature.read_keys(Settings.model_validate({"model_public_key": tmp_path / name}))
        assert str(refusal.value) == f"MNIST_MODEL_PUBLIC_KEY: {tmp_path / name}: {expected}"
    assert signature.read_keys(Settings.model_validate({"model_public_key": tmp_path / "link"}))


def test_without_the_extra_the_setting_is_a_bad_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names the extra."""
    monkeypatch.setattr(signature, "find_spec", lambda name: None if name == "model_signing" else object())
    with pytest.raises(SettingsError) as refusal:
        signature.read_keys(settings)
    line = "MNIST_MODEL_PUBLIC_KEY: model-signing is not installed; pip install '.[signing]'"
    assert str(refusal.value) == line


def test_both_sides_look_in_the_same_place(tmp_path: Path) -> None:
    """The training job writes a signature where the service reads it."""
    assert signing.signature_path(tmp_path / "7") == layout.signature_path(tmp_path, 7) == tmp_path / "7.sig"
