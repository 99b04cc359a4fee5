"""Versions from an OCI registry: `oci://REGISTRY/NAME`, one tag for each version, one layer for each file.

In: the address of a repository. Out: its tags, and files, whose names are the layers' titles, as `oras push` writes
them. The signature of version 50 is the only layer of tag `50.sig`. Credentials come from Docker's configuration file.
Plain HTTP is spoken to this machine's own registries alone.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

import orjson
import requests
from oras.container import Container
from oras.defaults import annotation_title, default_manifest_media_type
from oras.provider import Registry as OrasRegistry
from requests.adapters import HTTPAdapter

from ..errors import ModelError
from ..model.layout import MAX_ENTRIES
from ..quoting import quoted
from ..settings import is_loopback
from .remote import SIGNATURE, SILENT_SECONDS, Offer, refuse_large

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST_BYTES = 2**20
PIECE = 2**16  # bytes


class Registry:
    """A repository of a registry."""

    def __init__(self, address: str) -> None:
        self._name = address.removeprefix("oci://")
        self._client = connect(self._name)
        self._layers: dict[str, dict[str, str]] = {}  # digests by tag and file

    def offer(self) -> Offer:
        """Return the tags."""
        self._layers.clear()
        return Offer.of(self._client.get_tags(self._name, N=MAX_ENTRIES))

    def read(self, number: int, name: str, limit: int) -> bytes:
        """Return a file of a version."""
        return self._read(str(number), name, limit)

    def read_signature(self, number: int, limit: int) -> bytes:
        """Return the signature of a version."""
        return self._read(f"{number}{SIGNATURE}", f"{number}{SIGNATURE}", limit)

    def _read(self, tag: str, name: str, limit: int) -> bytes:
        if tag not in self._layers:
            self._layers[tag] = self._manifest(tag)
        digest = self._layers[tag].get(name)
        if digest is None:
            raise FileNotFoundError(f"{tag}/{name}")
        data = self._get(f"{tag}/{name}", Container(self._name).get_blob_url(digest), {}, limit)
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if found != digest:
            raise ModelError(f"{tag}/{name}: expected {quoted(digest)}, found {found}")
        return data

    def _manifest(self, tag: str) -> dict[str, str]:
        accept = {"Accept": default_manifest_media_type}
        data = self._get(f"the manifest of tag {tag}", Container(self._name).manifest_url(tag), accept, MANIFEST_BYTES)
        try:
            layers = orjson.loads(data)["layers"]
            return {str((layer.get("annotations") or {}).get(annotation_title)): layer["digest"] for layer in layers}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"expected a manifest with layers for tag {tag}, found {type(error).__name__}") from None

    def _get(self, what: str, url: str, headers: Mapping[str, str], limit: int) -> bytes:
        with self._client.do_request(f"{self._client.prefix}://{url}", headers=dict(headers), stream=True) as response:
            if response.status_code == 404:
                raise FileNotFoundError(what)
            response.raise_for_status()
            data = bytearray()
            for piece in response.iter_content(PIECE):
                data += piece
                refuse_large(what, len(data), limit)
            return bytes(data)


class _Client(OrasRegistry):
    """oras's client, with one try for each request: the caller tries again later, and sleeps less."""

    def do_request(self, *given: Any, **named: Any) -> requests.Response:
        """Do a request, authenticated where the registry asks for it."""
        response: requests.Response = OrasRegistry.do_request.__wrapped__(self, *given, **named)
        return response


class _Impatient(HTTPAdapter):
    """Give each request a timeout: oras has none."""

    def send(self, *given: Any, **named: Any) -> requests.Response:
        """Send a request."""
        return super().send(*given, **{**named, "timeout": SILENT_SECONDS})


def connect(name: str) -> OrasRegistry:
    """Return a client for a repository, with the credentials and the kind of authentication that its registry takes.

    Raises `PermissionError` where the registry asks for a password, and there is none.
    """
    container = Container(name)
    plain = is_loopback(container.registry.rpartition(":")[0] or container.registry)
    root = f"{'http' if plain else 'https'}://{container.registry}/v2/"
    asked = requests.get(root, timeout=SILENT_SECONDS).headers.get("Www-Authenticate", "")
    basic = asked.lower().startswith("basic")
    client = _Client(insecure=plain, auth_backend="basic" if basic else "token")
    for prefix in ("http://", "https://"):
        client.session.mount(prefix, _Impatient())
    client.session.headers["Accept-Encoding"] = "identity"
    folder = os.environ.get("DOCKER_CONFIG")  # oras knows the default folder alone
    client.auth.load_configs(container, configs=[f"{folder}/config.json"] if folder else None)
    if basic and not hasattr(client.auth, "_basic_auth"):
        raise PermissionError(f"{container.registry} asks for a password, and Docker's configuration has none for it")
    return client
