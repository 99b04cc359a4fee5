"""The service shares a file format with training, not code."""

from __future__ import annotations

import subprocess
import sys

from tests.support.service import ROOT


def test_the_service_loads_neither_torch_nor_training() -> None:
    """A fresh interpreter that has imported the whole service holds no module of torch, onnx or training."""
    code = (
        "import sys, service.app, service.__main__, service.client\n"
        "print({'torch', 'training', 'onnx', 'onnxscript'} & {name.partition('.')[0] for name in sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
