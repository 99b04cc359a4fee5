"""Kubernetes' manifests, as kubectl renders them from Kustomize's folders."""

from __future__ import annotations

import functools
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

Manifest = dict[str, Any]


@functools.cache
def rendered(folder: Path) -> tuple[Manifest, ...]:
    """What `kubectl apply -k` would send."""
    run = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    return tuple(yaml.safe_load_all(run.stdout))


def only(manifests: tuple[Manifest, ...], kind: str) -> Manifest:
    """The one manifest of a kind."""
    (found,) = (manifest for manifest in manifests if manifest["kind"] == kind)
    return found
