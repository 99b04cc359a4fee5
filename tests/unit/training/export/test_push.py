"""Copying a version to a place from which services pull it, through `training.export.push`."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from service.model import artefact, signature
from tests.support.service import MODELS
from training.errors import PushError, UsageError
from training.export import push, push_targets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A version's folder, which a test may change."""
    return shutil.copytree(MODELS / "2", tmp_path / "models" / "2")


def pushed(version: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> str:
    push.run({"folder": version, "target": str(target)})
    return capsys.readouterr().out


def test_a_folder_gets_the_files_and_an_index(
    version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The index names versions and signatures for services that pull from a web server."""
    www = tmp_path / "www"
    assert pushed(version, www, capsys) == f"version 2 is pushed to {www}\n"
    shutil.copytree(MODELS / "1", version.with_name("1"))
    version.with_name("1.sig").write_text("signature")
    assert pushed(version.with_name("1"), www, capsys) == f"version 1 is pushed to {www}\n"
    assert json.loads((www / "versions.json").read_text()) == {"versions": [1, 2], "signatures": [1]}
    assert (www / "1.sig").read_text() == "signature"
    for file in version.iterdir():
        assert (www / "2" / file.name).read_bytes() == file.read_bytes()


def test_the_card_comes_last(version: Path) -> None:
    """A version is there when its card is; the signature comes first, since a version without one may be refused."""
    version.with_name("2.sig").write_text("signature")
    written: list[str] = []
    target = Mock(has=lambda _: False, same=lambda *_: False, write=written.extend)
    assert push.push(push.Version.read(version), target) == "is pushed to"
    assert written == ["2.sig", "2/model.onnx", "2/golden.npz", "2/README.md", "2/model.json"]


def test_an_interrupted_push_is_finished(version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a card, what is there is no version."""
    www = tmp_path / "www"
    (www / "2").mkdir(parents=True)
    (www / "2" / "model.onnx").write_bytes(b"half")
    assert pushed(version, www, capsys) == f"version 2 is pushed to {www}\n"
    assert artefact.read(www, "2").version == "2"


def test_another_version_of_the_number_is_refused(
    version: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody else pushes it at the same moment."""
    www = tmp_path / "www"
    pushed(version, www, capsys)
    (version / "README.md").write_text("mine")
    with pytest.raises(PushError, match="there is another version 2 already, with another README"):
        pushed(version, www, capsys)
    monkeypatch.setattr(push_targets._Store, "has", lambda *_: False)
    with pytest.raises(PushError, match="somebody else has pushed another version 2 meanwhile"):
        pushed(version, www, capsys)


def test_a_version_that_no_service_could_serve_is_refused(version: Path, tmp_path: Path) -> None:
    """Each refusal names the file."""

    def refusal() -> str:
        with pytest.raises(UsageError) as found:
            push.run({"folder": version, "target": str(tmp_path / "www")})
        assert not (tmp_path / "www").exists()
        return str(found.value)

    (version.parent / "HELD").write_text("2\n")
    assert refusal() == (
        f"{version}: the version is held, and services that pull it would serve it; "
        "`python -m service promote 2` ends that"
    )
    (version / "golden.npz").write_bytes(b"other")
    assert refusal() == f"{version}/golden.npz: its checksum is not that of the card"
    (version / "model.json").write_text('{"schema": "mnist-mlp/1", "version": 3}')
    assert refusal() == f"{version}/model.json: expected the card of version 2, of schema mnist-mlp/1"
    (version / "model.json").write_text("{")
    assert refusal().startswith(f"{version}/model.json: expected JSON, found ")
    (version / "model.json").write_bytes(bytes(2**20 + 1))
    assert refusal() == f"{version}/model.json: more than 1,048,576 bytes"
    (version / "model.json").unlink()
    assert refusal() == f"{version}: expected a version, found no model.json"
    version = version.rename(version.with_name("newest"))
    assert refusal() == f"{version}: expected the folder of a version, whose name is its number"


def test_limits_are_those_of_the_service() -> None:
    assert {name: push.LIMITS[name] for name in artefact.LIMITS} == artefact.LIMITS
    assert push.SIGNATURE_BYTES == signature.MAX_BYTES
    assert list(push.LIMITS)[-1] == push_targets.CARD


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (
            "https://example.com/models",
            "https:// takes no pushes: push to the folder or the bucket that the web server",
        ),
        ("ftp://example.com/models", "expected a target of s3://, gs://, hf://, oci:// or a folder"),
        ("s3://name:secret@bucket/models", "expected a target s3:// without a user's name and without a query"),
        ("oci://registry/mnist-mlp", "expected a registry with a dot or a port, such as registry:443"),
        ("s3://bucket/models?signature=secret", "expected a target s3:// without a user's name and without a query"),
    ],
)
def test_a_bad_target_is_named(version: Path, target: str, problem: str) -> None:
    """And what may be secret in it is not repeated."""
    with pytest.raises(UsageError) as found:
        push.run({"folder": version, "target": target})
    assert problem in str(found.value)
    assert "secret" not in str(found.value)


def test_a_missing_library_is_named(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(push_targets.LIBRARIES, "s3", "no_such_library")
    with pytest.raises(UsageError, match=r"s3:// needs a library that is not here: pip install '.\[s3\]'"):
        push.run({"folder": version, "target": "s3://bucket/models"})
