"""Clients that others' tools generate from `/openapi.json` work."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.service import ROOT, VERSION

if TYPE_CHECKING:
    import httpx

SEVEN = ROOT / "service" / "page" / "seven.png"
CLIENTS = Path(sys.prefix) / "clients"
NODE = CLIENTS / "node_modules"
OURS = ROOT / "tests" / "support" / "clients"


def run(*command: str | Path, cwd: Path) -> str:
    """What a program prints; it must end well."""
    ended = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_every_operation_and_every_schema_has_a_name(client: httpx.Client) -> None:
    """Operation ids are unique identifiers; each reference leads to a schema, and each schema is referred to."""
    text = client.get("/openapi.json").text
    document = json.loads(text)
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z_]+", name) for name in names)
    assert {"predict", "get_readiness", "get_health", "infer", "infer_of_version", "model_statistics"} <= set(names)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) == set(document["components"]["schemas"])


def test_no_schema_is_one_that_generators_cannot_read(client: httpx.Client) -> None:
    """A schema is an object, not `false`, and has one type."""

    def visit(schema: Any) -> None:
        assert isinstance(schema, dict), schema
        assert isinstance(schema.get("type", ""), str), schema
        for key in ("anyOf", "oneOf", "prefixItems"):
            for part in schema.get(key, []):
                visit(part)
        for part in schema.get("properties", {}).values():
            visit(part)
        if "items" in schema:
            visit(schema["items"])

    for schema in client.get("/openapi.json").json()["components"]["schemas"].values():
        visit(schema)


def test_openapi_python_client(server_url: str, tmp_path: Path) -> None:
    """Its client predicts in three forms, reads errors and health, and speaks the Open Inference Protocol."""
    tool = CLIENTS / "bin" / "openapi-python-client"
    run(tool, "generate", "--url", f"{server_url}/openapi.json", "--meta", "none", "--output-path",
        tmp_path / "mnist_mlp_client", cwd=tmp_path)  # fmt: skip
    found = run(CLIENTS / "bin" / "python", OURS / "ask_generated.py", tmp_path, server_url, SEVEN, cwd=tmp_path)
    assert json.loads(found) == {
        "bytes": 7,
        "form": 7,
        "JSON": 7,
        "no ink": None,
        "polarity": "light_on_dark",
        "batch": ["Prediction", "FailedPrediction"],
        "bad picture": "malformed",
        "another model": "no_such_model",
        "health": "ready",
        "card": "mnist-mlp",
        "metrics": True,
        "inputs": [[-1, 1, 28, 28]],
        "outputs": [1, 10],
        "no model": f"unknown model: other is not found; mnist-mlp {VERSION} is served",
    }


@pytest.mark.skipif(not (NODE.exists() and shutil.which("node")), reason="make dev installs it where there is npm")
def test_openapi_typescript(server_url: str, tmp_path: Path) -> None:
    """Its types hold a client to the interface: what is right compiles and runs, and what is not is an error."""
    (tmp_path / "node_modules").symlink_to(NODE)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(OURS / "ask_generated.ts", tmp_path)
    run(NODE / ".bin" / "openapi-typescript", f"{server_url}/openapi.json", "-o", "openapi.ts", cwd=tmp_path)
    strict = "--strict --skipLibCheck --target es2022 --module nodenext --lib es2022,dom".split()
    run(NODE / ".bin" / "tsc", *strict, "ask_generated.ts", cwd=tmp_path)
    image = base64.b64encode(SEVEN.read_bytes()).decode()
    assert json.loads(run("node", "ask_generated.js", server_url, image, cwd=tmp_path)) == {
        "predictions": [7, "malformed", None],
        "refused": "no_such_model",
        "health": "ready",
        "shape": [-1, 1, 28, 28],
    }
