"""A registry that hands out tokens, as public ones do, through `service.source.registry`.

Debian's registry in `tests.system.test_sources` asks for a password instead.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from service.errors import ModelError
from service.model import artefact
from service.source import pull
from service.source.remote import Offer, open_remote
from tests.support.service import MODELS
from tests.support.sources import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TITLE = "org.opencontainers.image.title"


class TokenRegistry(Server):
    """One repository, team/mnist-mlp, whose answers need a token."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.basic: str | None = None  # what a token needs
        self.scheme = "Bearer"
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}

    def add(self, tag: str, files: dict[str, bytes]) -> None:
        layers = []
        for name, data in files.items():
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            self.blobs[digest] = data
            layers.append({"digest": digest, "size": len(data), "annotations": {TITLE: name}})
        self.manifests[tag] = json.dumps({"schemaVersion": 2, "layers": layers}).encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: TokenRegistry

    def do_GET(self) -> None:
        path, given = urlsplit(self.path).path, self.headers["Authorization"]
        if path == "/token":
            allowed = self.server.basic in {None, given}
            self._send(200 if allowed else 401, b'{"token": "t0ken"}' if allowed else b"{}")
        elif given != "Bearer t0ken":
            self._send(401, b"{}", f'{self.server.scheme} realm="{self.server.url}/token",service="tests"')
        else:
            name = path.rpartition("/")[2]
            found = {
                "/v2/team/mnist-mlp/tags/list": json.dumps({"tags": [*self.server.manifests, "latest"]}).encode(),
                f"/v2/team/mnist-mlp/manifests/{name}": self.server.manifests.get(name),
                f"/v2/team/mnist-mlp/blobs/{name}": self.server.blobs.get(name),
            }.get(path)
            self._send(404 if found is None else 200, found or b"{}")

    def _send(self, status: int, data: bytes, challenge: str | None = None) -> None:
        self.send_response(status)
        if challenge is not None:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenRegistry]:
    """A registry with version 2, and Docker's configuration with a password for it."""
    with TokenRegistry() as registry:
        registry.add("2", {file.name: file.read_bytes() for file in (MODELS / "2").iterdir()})
        registry.add("2.sig", {"2.sig": b"signature"})
        auth = base64.b64encode(b"tester:hunter2").decode()
        (tmp_path / "docker").mkdir()
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {registry.url[7:]: {"auth": auth}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        registry.basic = f"Basic {auth}"
        yield registry


def address(registry: TokenRegistry) -> str:
    return f"oci://{registry.url[7:]}/team/mnist-mlp"


def test_a_version_and_its_signature_are_pulled(registry: TokenRegistry, tmp_path: Path) -> None:
    remote = open_remote(address(registry))
    assert remote.offer() == Offer([2], {2})
    pull.pull(remote, 2, tmp_path, signed=True)
    assert artefact.read(tmp_path, "2").version == "2"
    assert (tmp_path / "2.sig").read_bytes() == b"signature"


def test_nobody_needs_a_password_where_the_registry_asks_for_none(
    registry: TokenRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is for anybody then."""
    registry.basic = None
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_remote(address(registry)).offer() == Offer([2], {2})


def test_a_missing_password_is_named(registry: TokenRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.scheme = "Basic"
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PermissionError, match="asks for a password, and Docker's configuration has none for it"):
        open_remote(address(registry))


def test_a_bad_manifest_or_layer_is_refused(registry: TokenRegistry) -> None:
    """Each by one error, and no more of it is read than the limit."""
    remote = open_remote(address(registry))
    registry.add("3", {"model.json": bytes(1001)})
    with pytest.raises(ModelError, match=r"^3/model.json: expected at most 1,000 bytes, found more$"):
        remote.read(3, "model.json", 1000)
    with pytest.raises(FileNotFoundError, match=r"^3/model.onnx$"):
        remote.read(3, "model.onnx", 1000)
    for bad in (b"{", b"[]", b'{"layers": 1}', b'{"layers": [1]}', b'{"layers": [{"annotations": {}}]}'):
        registry.manifests["4"] = bad
        with pytest.raises(ModelError, match=r"^expected a manifest with layers for tag 4, found "):
            remote.read(4, "model.json", 1000)
    registry.manifests["4"] = bytes(2**20 + 1)
    with pytest.raises(ModelError, match=r"^the manifest of tag 4: expected at most 1,048,576 bytes, found more$"):
        remote.read(4, "model.json", 1000)


def test_a_layer_of_another_digest_is_refused(registry: TokenRegistry, tmp_path: Path) -> None:
    """Whoever stores the layers may be another than the registry: its manifest says what they are."""
    remote = open_remote(address(registry))
    for digest in registry.blobs:
        registry.blobs[digest] += b" "
    with pytest.raises(ModelError, match=r"^2/model\.json: expected sha256:[0-9a-f]{64}, found sha256:[0-9a-f]{64}$"):
        pull.pull(remote, 2, tmp_path, signed=False)
    for bad in ("sha512:0", "../../x", 1, None, "x" * 1000):
        layer = {"digest": bad, "annotations": {TITLE: "model.json"}}
        registry.manifests["3"] = json.dumps({"layers": [layer]}).encode()
        registry.blobs[str(bad)] = b"x"
        with pytest.raises((ModelError, FileNotFoundError)) as refused:
            remote.read(3, "model.json", 1000)
        assert len(str(refused.value)) < 200
    with pytest.raises(ModelError, match=r"^2\.sig/2\.sig: expected sha256:"):
        remote.read_signature(2, 1000)
