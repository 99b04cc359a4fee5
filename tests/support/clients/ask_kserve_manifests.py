"""What KServe's SDK objects to in manifests, as JSON on stdout. Runs in an environment that has `kserve`.

python ask_kserve_manifests.py MANIFESTS.json

The SDK's classes are generated from the schemas of KServe's custom resources and of Kubernetes. Each object of a
manifest becomes one of its class. An unknown field, a missing one that the class demands and a value of another type
are objections, and the first one of each manifest is named.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import kserve.models
import kubernetes.client.models

VERSIONS = {"InferenceService": "V1beta1", "ClusterServingRuntime": "V1alpha1"}
PRIMITIVES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "object": object,  # IntOrString
    "ResourceQuantity": (str, int),
    "V1beta1MetricQuantity": (str, int),
}


def build(value: Any, kind: str, path: str) -> Any:
    """The SDK's object; raises `ValueError` for what the class does not allow."""
    if found := re.fullmatch(r"[Ll]ist\[(.*)\]", kind):
        _check(value, list, kind, path)
        return [build(part, found[1], f"{path}[{number}]") for number, part in enumerate(value)]
    if found := re.fullmatch(r"[Dd]ict[(\[]str, (.*)[)\]]", kind):
        _check(value, dict, kind, path)
        return {key: build(part, found[1], f"{path}.{key}") for key, part in value.items()}
    if kind in PRIMITIVES:
        _check(value, PRIMITIVES[kind], kind, path)
        return value
    # Kubernetes' own types have long names in KServe's schemas: K8sIoApiAppsV1DeploymentStrategy.
    short = re.sub(r"^K8sIoApi[A-Z][a-z]+", "", kind)
    model = getattr(kserve.models, kind, None) or getattr(kubernetes.client.models, short)
    _check(value, dict, kind, path)
    names = {name: attribute for attribute, name in model.attribute_map.items()}
    for name in value:
        if name not in names:
            raise ValueError(f"{path}: {kind} has no field {name}")
    parts = {
        names[name]: build(part, model.openapi_types[names[name]], f"{path}.{name}") for name, part in value.items()
    }
    try:
        return model(**parts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check(value: Any, kinds: type | tuple[type, ...], kind: str, path: str) -> None:
    if not isinstance(value, kinds) or (kinds is int and isinstance(value, bool)):
        raise ValueError(f"{path}: expected {kind}, found {value!r}")


def objections(manifests: list[dict[str, Any]]) -> list[str]:
    found = []
    for manifest in manifests:
        kind = manifest["kind"]
        try:
            build(manifest, VERSIONS[kind] + kind, kind)
        except ValueError as error:
            found.append(str(error))
    return found


if __name__ == "__main__":
    json.dump({"objections": objections(json.loads(Path(sys.argv[1]).read_text()))}, sys.stdout)
