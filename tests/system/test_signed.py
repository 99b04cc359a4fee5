"""A service that serves only signed versions: it refuses others while it runs, and follows signatures that appear."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from service.commands.cli import run_alone
from service.versions import choice
from tests.support.graphs import next_digit, publish_edited
from tests.support.metrics import failed_loads
from tests.support.service import MODELS, publish, running_service, until
from tests.support.signing import make_keys, sign, with_checksums
from tests.support.versions import wait_for_version

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.service import Service
    from tests.support.signing import Keys


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return make_keys(tmp_path)


def reasons(service: Service) -> dict[str, str]:
    """Why versions are refused, as clients are told."""
    index = httpx.post(f"{service.url}/v2/repository/index").json()
    return {entry["version"]: entry["reason"] for entry in index if entry["reason"]}


def refused(service: Service, version: str) -> str:
    """Wait until a worker refuses a version; why."""
    found: dict[str, str] = {}

    def is_refused() -> bool:
        found.update(reasons(service))
        return version in found

    until(is_refused, f"version {version} is not refused")
    return found[version]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_version_serves_once_it_is_signed(models: Path, keys: Keys, workers: int) -> None:
    """Without a restart, in every worker; what is not signed is refused meanwhile, and the other one serves on."""
    sign(models / "1", keys)
    settings: dict[str, Any] = {"model_dir": models, "model_version": "latest", "model_public_key": keys.public}
    with running_service(**settings, workers=workers) as service:
        publish(models, 2)
        unsigned = "models/2.sig: expected a signature of version 2, as MNIST_MODEL_PUBLIC_KEY demands, found none"
        assert refused(service, "2") == unsigned
        wait_for_version(service, "1")
        sign(models / "2", keys)
        wait_for_version(service, "2")
        until(lambda: not reasons(service), "the version is refused still")
        # Whoever writes the folder makes another model the newest, with its checksums: nobody gets its digits.
        publish_edited(models, 3, next_digit)
        shutil.copy(models / "2.sig", models / "3.sig")
        assert "models/3.sig: expected a signature of version 3, found one of other bytes" in refused(service, "3")
        with_checksums(models / "2", model=(MODELS / "1" / "model.onnx").read_bytes())
        assert "models/2.sig: expected a signature of version 2, found one of other bytes" in refused(service, "2")
        wait_for_version(service, "2")
        until(lambda: failed_loads(service) >= 2 * workers, "a worker did not refuse them")


def test_a_canary_is_tried_once_it_is_signed(models: Path, keys: Keys) -> None:
    """Whoever writes CANARY cannot have an unsigned version answer."""
    sign(models / "1", keys)
    settings: dict[str, Any] = {"model_dir": models, "model_version": "1", "model_public_key": keys.public}
    with running_service(**settings) as service:
        publish(models, 2)
        (models / choice.CANARY).write_text("2 100")
        assert "models/2.sig: expected a signature of version 2" in refused(service, "2")
        assert httpx.get(f"{service.url}/v2/models/mnist-mlp/versions/2").status_code == 404
        sign(models / "2", keys)
        until(lambda: httpx.get(f"{service.url}/v2/models/mnist-mlp/versions/2").status_code == 200, "it is not tried")


def test_a_start_needs_a_signed_version(models: Path, keys: Keys, capfd: pytest.CaptureFixture[str]) -> None:
    """Without one it ends with exit code 3, and without keys that can be read with 2; a line says why."""
    flags = ["--model-dir", str(models), "--port", "0", "--workers", "1", "--model-public-key"]
    unsigned = "expected a signature of version 1, as MNIST_MODEL_PUBLIC_KEY demands, found none"
    for key, code, line in (
        (keys.public, 3, f"service: {models}/1.sig: {unsigned}"),
        (keys.private, 2, f"service: MNIST_MODEL_PUBLIC_KEY: {keys.private}: expected public keys of"),
    ):
        assert run_alone("serve", [*flags, str(key)]) == code
        assert capfd.readouterr().err.splitlines()[-1].startswith(line)


def test_new_keys_are_followed(models: Path, keys: Keys, tmp_path: Path) -> None:
    """A file of keys is read again when it changes: a version by the new key serves, and then the old key may go.

    The path of the file stays in the log: clients learn its name.
    """
    new = make_keys(tmp_path, "new")
    named = tmp_path / "keys.pem"
    shutil.copy(keys.public, named)
    sign(models / "1", keys)
    settings: dict[str, Any] = {"model_dir": models, "model_version": "latest", "model_public_key": named}
    with running_service(**settings) as service:
        publish(models, 2)
        sign(models / "2", new)
        assert "found one by a key that MNIST_MODEL_PUBLIC_KEY does not have" in refused(service, "2")
        named.write_bytes(keys.public.read_bytes() + new.public.read_bytes())
        wait_for_version(service, "2")
        shutil.copy(new.public, named)
        wait_for_version(service, "2")
        os.truncate(named, 0)
        assert refused(service, "2").startswith("MNIST_MODEL_PUBLIC_KEY: keys.pem: expected public keys")
        wait_for_version(service, "2")
