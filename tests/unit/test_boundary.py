"""The service shares a file format with training, not code; and no test imports another test."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_the_service_loads_neither_torch_nor_training() -> None:
    """A fresh interpreter that has imported the whole service holds no module of torch, onnx or training."""
    code = (
        "import sys, service.app, service.__main__, service.client\n"
        "print({'torch', 'training', 'onnx'} & {name.partition('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_service_loads_no_library_of_an_extra() -> None:
    """Without the settings that need them, an interpreter that has imported the whole service holds none of them."""
    code = (
        "import sys, service.app, service.__main__, service.source.fetcher\n"
        "print({'aiohttp', 'botocore', 'fsspec', 'gcsfs', 'huggingface_hub', 'oras', 'requests', 's3fs'} & "
        "{name.partition('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def imports(file: Path) -> Iterator[str]:
    """Yield the full name of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*file.relative_to(ROOT).parts[: -node.level or None], node.module or ""])
            yield from (f"{base if node.level else node.module}.{name.name}" for name in node.names)


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("tests", r"tests\..*\btest_|qa\b"),
        ("tests/support", r"tests\.(?!support\.)"),
        ("qa", r"tests\.(?!support\.)"),
        ("benchmarks", r"tests\.(?!support\.)"),
    ],
)
def test_what_tests_share_stands_in_support(folder: str, forbidden: str) -> None:
    """No test imports another test or a program of qa/; programs and tests/support import only tests.support."""
    found = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for name in imports(file)
        if re.match(forbidden, name)
    ]
    assert found == []
