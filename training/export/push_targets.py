"""The places to which versions are pushed: object stores, the Hugging Face Hub, OCI registries, and folders.

In: the address of a place, and files by their paths, `50/model.json` and `50.sig`. Out: the files there. It knows no
version. Credentials are those that each library finds by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import PushError, UsageError
from ..optional import require
from .choice import NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping

CARD: Final = "model.json"
SIGNATURE: Final = ".sig"  # after the version's number
INDEX: Final = "versions.json"  # for services that pull from a web server, which has no listing
LIBRARIES: Final = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "oci": "oras"}  # by scheme, and so by extra
LOCAL_REGISTRY: Final = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")  # it speaks HTTP, as for Docker
TIMEOUT_SECONDS: Final = 15.0


class Target(Protocol):
    """A place of versions. Paths are `50/model.json` and `50.sig`; methods raise what the library raises."""

    def has(self, path: str) -> bool:
        """Return whether a file is there."""

    def same(self, path: str, content: bytes) -> bool:
        """Return whether a file is there with this content."""

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write files, in this order; raises `FileExistsError` for a card that somebody else has written meanwhile."""


def open_target(address: str) -> Target:
    """Return the target at an address; raises `UsageError`."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return _Store(str(Path(address).absolute()))
    if scheme in {"http", "https"}:
        raise UsageError(f"{scheme}:// takes no pushes: push to the folder or the bucket that the web server serves")
    if scheme not in LIBRARIES:
        raise UsageError(f"expected a target of {', '.join(f'{known}://' for known in LIBRARIES)} or a folder")
    if "@" in rest.partition("/")[0] or "?" in rest:
        raise UsageError(f"expected a target {scheme}:// without a user's name and without a query")
    registry = rest.partition("/")[0]
    if scheme == "oci" and not re.search("[.:]", registry):  # oras would push to Docker Hub
        raise UsageError(f"expected a registry with a dot or a port, such as {registry}:443")
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # gcsfs would ask for each bucket's kind
    require(f"{scheme}://", scheme, LIBRARIES[scheme])
    if scheme == "hf":
        return _Hub(address)
    return _Registry(address) if scheme == "oci" else _Store(address)


class _Store:
    """A folder of an object store, or of this machine."""

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs

        options = {"use_listings_cache": False} if "://" in address else {"auto_mkdir": True}
        self._files, self._root = url_to_fs(address, **options)

    def has(self, path: str) -> bool:
        return bool(self._files.exists(f"{self._root}/{path}"))

    def same(self, path: str, content: bytes) -> bool:
        try:
            return bool(self._files.cat_file(f"{self._root}/{path}") == content)
        except FileNotFoundError:
            return False

    def write(self, contents: Mapping[str, bytes]) -> None:
        for path, content in contents.items():
            mode = "create" if path.endswith(f"/{CARD}") else "overwrite"
            self._files.pipe_file(f"{self._root}/{path}", content, mode=mode)
        names = [entry.rstrip("/").rpartition("/")[2] for entry in self._files.ls(self._root, detail=False)]
        index = {
            "versions": sorted(int(name) for name in names if re.fullmatch(NUMBER, name)),
            "signatures": sorted(
                int(name.removesuffix(SIGNATURE)) for name in names if re.fullmatch(f"{NUMBER}{SIGNATURE}", name)
            ),
        }
        self._files.pipe_file(f"{self._root}/{INDEX}", json.dumps(index).encode() + b"\n")


class _Hub:
    """A repository of the Hugging Face Hub: one commit for each push."""

    def __init__(self, address: str) -> None:
        from huggingface_hub import HfFileSystem

        self._files: Any = HfFileSystem(skip_instance_cache=True)
        self._place: Any = self._files.resolve_path(address)

    def has(self, path: str) -> bool:
        return bool(self._files.exists(f"{self._place.unresolve()}/{path}"))

    def same(self, path: str, content: bytes) -> bool:
        try:
            return bool(self._files.cat_file(f"{self._place.unresolve()}/{path}") == content)
        except FileNotFoundError:
            return False

    def write(self, contents: Mapping[str, bytes]) -> None:
        from huggingface_hub import CommitOperationAdd, HfApi

        folder = f"{self._place.path}/" if self._place.path else ""
        HfApi().create_commit(
            self._place.repo_id,
            [CommitOperationAdd(f"{folder}{path}", content) for path, content in contents.items()],
            commit_message=f"Version {next(iter(contents)).partition('/')[0].removesuffix(SIGNATURE)}",
            repo_type=self._place.repo_type,
            revision=self._place.revision,
        )


class _Registry:
    """A repository of an OCI registry: a tag for each version, and one for each signature."""

    def __init__(self, address: str) -> None:
        import requests
        from oras.container import Container
        from oras.provider import Registry

        self._name = address.removeprefix("oci://")
        container = Container(self._name)
        plain = LOCAL_REGISTRY.fullmatch(container.registry) is not None
        root = f"{'http' if plain else 'https'}://{container.registry}/v2/"
        asked = requests.get(root, timeout=TIMEOUT_SECONDS).headers.get("Www-Authenticate", "")
        basic = asked.lower().startswith("basic")
        self._client = Registry(insecure=plain, auth_backend="basic" if basic else "token")
        folder = os.environ.get("DOCKER_CONFIG")  # oras knows the default folder alone
        self._client.auth.load_configs(container, configs=[f"{folder}/config.json"] if folder else None)
        if basic and not hasattr(self._client.auth, "_basic_auth"):
            raise PushError(f"{address}: the registry asks for a password, and Docker's configuration has none for it")

    def has(self, path: str) -> bool:
        return path in self._digests(_tag(path))

    def same(self, path: str, content: bytes) -> bool:
        return self._digests(_tag(path)).get(path) == f"sha256:{hashlib.sha256(content).hexdigest()}"

    def write(self, contents: Mapping[str, bytes]) -> None:
        for tag in dict.fromkeys(map(_tag, contents)):
            with tempfile.TemporaryDirectory() as folder:
                layers = [Path(folder) / path.rpartition("/")[2] for path in contents if _tag(path) == tag]
                for layer, content in zip(layers, (contents[p] for p in contents if _tag(p) == tag), strict=True):
                    layer.write_bytes(content)
                self._client.push(
                    f"{self._name}:{tag}",
                    files=[str(layer) for layer in layers],
                    disable_path_validation=True,
                    quiet=True,
                )

    def _digests(self, tag: str) -> dict[str, str]:
        """Return the digests of a tag's files by their paths; none without such a tag."""
        from oras.container import Container
        from oras.defaults import annotation_title, default_manifest_media_type

        url = f"{self._client.prefix}://{Container(self._name).manifest_url(tag)}"
        answer = self._client.do_request(url, headers={"Accept": default_manifest_media_type})
        if answer.status_code == 404:
            return {}
        answer.raise_for_status()
        prefix = "" if tag.endswith(SIGNATURE) else f"{tag}/"
        return {prefix + layer["annotations"][annotation_title]: layer["digest"] for layer in answer.json()["layers"]}


def _tag(path: str) -> str:
    return path.partition("/")[0]
