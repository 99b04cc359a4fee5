from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from service.model import artefact
from tests.support.service import ROOT
from tests.support.signing import make_keys, statement
from training.__main__ import main
from training.errors import UsageError
from training.export.publish import publish
from training.export.signing import PASSWORD, Signer, signature_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.signing import Keys

UPSTREAM = (sys.executable, "-m", "model_signing")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path)


def verifies(version: Path, keys: Keys) -> bool:
    """Whether the command of OpenSSF's library verifies the signature beside a version."""
    signature, key = str(signature_path(version)), str(keys.public)
    words = ["verify", "key", str(version), "--signature", signature, "--public_key", key]
    done = subprocess.run([*UPSTREAM, *words], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def refusal(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Sign with a key that cannot be used; the one line."""
    assert main(["sign", *map(str, words)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("error: ")
    return told.err.removeprefix("error: ").rstrip("\n")


def test_others_verify_a_signature(models: Path, keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    """The command of OpenSSF's library does, over every file in the folder; and only with this key."""
    version = models / "1"
    assert main(["sign", str(version), "--key", str(keys.private)]) == 0
    assert capsys.readouterr().out == f"{models}/1.sig is the signature of version 1\n"
    assert sorted(path.name for path in models.iterdir()) == ["1", "1.sig"]
    assert (models / "1.sig").stat().st_mode & 0o444 == 0o444
    signed = statement(models / "1.sig")
    assert (signed["predicateType"], signed["subject"][0]["name"]) == ("https://model_signing/signature/v1.0", "1")
    assert {each["name"] for each in signed["predicate"]["resources"]} == {path.name for path in version.iterdir()}
    assert verifies(version, keys)
    assert not verifies(version, make_keys(models, "other"))
    with (version / "README.md").open("a") as file:
        file.write("more")
    assert not verifies(version, keys)


def test_a_signature_by_others_passes(models: Path, keys: Keys) -> None:
    """What the command of OpenSSF's library has signed, the service verifies as what the job has signed."""
    words = ["sign", "key", str(models / "1"), "--signature", str(models / "1.sig"), "--private_key", str(keys.private)]
    subprocess.run([*UPSTREAM, *words], capture_output=True, check=True)
    assert artefact.read(models, "1", keys.public.read_bytes()).version == "1"


def test_several_versions_are_signed_or_none(models: Path, keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    """A signature takes the place of another one; a folder that is no version ends the command before it signs one."""
    shutil.copytree(models / "1", models / "2")
    (models / "2.sig").write_text("of another key")
    expected = "expected a version's folder, such as models/mnist-mlp/101, with golden.npz, model.json, model.onnx"
    for none in (models, models / "3", models / "1.sig"):
        line = refusal(capsys, models / "1", none, "--key", keys.private)
        assert line == f"{none}: {expected}"
    assert not (models / "1.sig").exists()
    assert main(["sign", *(str(models / name) for name in "12"), "--key", str(keys.private)]) == 0
    assert verifies(models / "1", keys)
    assert verifies(models / "2", keys)


def test_a_version_with_a_link_is_not_signed(models: Path, keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    """Services follow no link."""
    (models / "1" / "more").symlink_to(models)
    assert refusal(capsys, models / "1", "--key", keys.private).startswith(f"{models}/1 cannot be signed: ")
    assert not (models / "1.sig").exists()


def test_an_encrypted_key_needs_its_password(
    models: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a variable of the environment; the line says which, and quotes no password."""
    encrypted = make_keys(models, "encrypted", encryption=BestAvailableEncryption(b"shibboleth"))
    expected = f"{encrypted.private}: expected a private key of P-256, P-384 or P-521 in PEM"
    and_more = " and, if it is encrypted, its password in MNIST_SIGNING_PASSWORD, found"
    words = (models / "1", "--key", encrypted.private)
    assert refusal(capsys, *words) == f"{expected}{and_more} an encrypted one"
    monkeypatch.setenv(PASSWORD, "wrong")
    assert refusal(capsys, *words).startswith(f"{expected}, found ")
    monkeypatch.setenv(PASSWORD, "shibboleth")
    assert main(["sign", *map(str, words)]) == 0
    capsys.readouterr()
    assert verifies(models / "1", encrypted)
    plain = refusal(capsys, models / "1", "--key", keys.private)
    assert plain.endswith(f"{and_more} one without a password, and the variable is set")


def test_a_key_that_cannot_be_used_is_code_2(models: Path, keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the file, what was expected and what was found."""
    k1 = make_keys(models, "k1", ec.SECP256K1())
    others = {}
    for kind in ("rsa", "ed25519"):
        others[kind] = models / f"{kind}.pem"
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", kind, "-out", others[kind]], capture_output=True, check=True
        )
    (models / "words.pem").write_text("words")
    for key, found in (
        (models / "none.pem", "No such file or directory"),
        (models, "Is a directory"),
        (models / "words.pem", "Unable to load PEM file"),
        (keys.public, "Valid PEM but no BEGIN/END delimiters for a private key found"),
        (others["rsa"], "one of another kind"),
        (others["ed25519"], "one of another kind"),
        (k1.private, "Unsupported key for curve 'secp256k1'"),
    ):
        line = refusal(capsys, models / "1", "--key", key)
        assert line.startswith(f"{key}: expected a private key of P-256, P-384 or P-521 in PEM, found {found}"), line


def test_without_the_extra_the_line_names_it(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for other libraries that only some jobs need."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("training.optional.importlib.import_module", missing)
    with pytest.raises(UsageError, match=r"a signature needs a library that is not here: pip install '.\[signing\]'"):
        Signer(keys.private)


def test_a_version_is_signed_before_its_folder_appears(tmp_path: Path, keys: Keys) -> None:
    """Over the very files of the folder, and in a place that only this user can write to."""
    folder = tmp_path / "digits"
    signer = Signer(keys.private)

    def sign(number: int, contents: Mapping[str, bytes]) -> bytes:
        assert sorted(contents) == ["README.md", "golden.npz", "model.json", "model.onnx"]
        assert not (folder / str(number)).exists()
        return signer.sign_files(number, contents)

    version = publish(folder, b"model", b"golden", {"run": "a"}, str, sign=sign)
    assert sorted(path.name for path in folder.iterdir()) == ["101", "101.sig"]
    assert statement(folder / "101.sig")["subject"][0]["name"] == "101"
    assert verifies(version, keys)


def test_a_signature_without_a_version_means_nothing(tmp_path: Path) -> None:
    """As a killed run leaves it: the next version of this number has its own, or none."""
    (tmp_path / "101.sig").write_text("of a version that never appeared")
    publish(tmp_path, b"model", b"golden", {"run": "a"}, str)
    assert not (tmp_path / "101.sig").exists()
    (tmp_path / "102.sig").write_text("of a version that never appeared")
    publish(tmp_path, b"model", b"golden", {"run": "b"}, str, sign=lambda number, _: b"%d" % number)
    assert (tmp_path / "102.sig").read_bytes() == b"102"


def test_a_publication_that_fails_leaves_no_signature(tmp_path: Path) -> None:
    """Here a file has the place of the version's folder."""
    (tmp_path / "101").touch()
    with pytest.raises(UsageError, match="--version-number 101 exists"):
        publish(tmp_path, b"model", b"golden", {"run": "a"}, str, number=101, sign=lambda *_: b"signature")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["101"]


def test_a_version_that_is_there_is_not_signed_by_its_run(tmp_path: Path) -> None:
    """Anybody may write the run's name on a card: the job signs only what it has made itself."""
    version = publish(tmp_path, b"model", b"golden", {"run": "a"}, str)
    assert publish(tmp_path, b"model", b"golden", {"run": "a"}, str, sign=lambda *_: b"signature") == version
    assert not (tmp_path / "101.sig").exists()


def test_killed_at_each_system_call_a_version_has_its_signature(tmp_path: Path) -> None:
    """SIGKILL at each call: where there is a version, its signature is there; and the run goes on to the same end."""
    program = (
        "import sys; from pathlib import Path; from tests.support.training_crash import is_killed\n"
        "from training.export import publish\n"
        "def sign(number, contents): return b'%d of %d' % (number, len(contents))\n"
        "def job(): publish.publish(folder, b'model', b'golden', {'run': 'a'}, str, sign=sign)\n"
        "folder = Path(sys.argv[1], '1')\n"
        "while is_killed(job, 'training.export.publish:publish', int(folder.name)):\n"
        "    assert not (folder / '101').exists() or (folder / '101.sig').read_bytes() == b'101 of 4'\n"
        "    is_killed(job); folder = folder.with_name(str(int(folder.name) + 1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    calls = done.stdout.split()
    assert calls.count("write") == 5
    assert calls.index("replace") < calls.index("rename")
    assert len(list(tmp_path.iterdir())) == len(calls) + 1
    for folder in tmp_path.iterdir():
        assert sorted(path.name for path in folder.iterdir()) == ["101", "101.sig"]
        assert (folder / "101.sig").read_bytes() == b"101 of 4"


def test_own_signatures_go_with_own_versions(tmp_path: Path) -> None:
    """`make clean-models` leaves those of the project's versions, which somebody has signed."""
    folder = tmp_path / "models"
    for name in ("1.sig", "50.sig", "100.sig", "101.sig", "999999999.sig", "101a.sig", "notes"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    subprocess.run(["make", "clean-models", f"MODELS={folder}"], cwd=ROOT, capture_output=True, check=True)
    assert sorted(os.listdir(folder)) == ["1.sig", "100.sig", "101a.sig", "50.sig", "notes"]  # noqa: PTH208
