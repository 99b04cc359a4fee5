"""The commands that the wheel installs: each runs a package as `python -m` does."""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec

from . import __version__


def ask() -> int:
    """Run `mnist-mlp`, the client."""
    return _run("service.client")


def serve() -> int:
    """Run `mnist-mlp-serve`, the service."""
    return _run("service")


def train() -> int:
    """Run `mnist-mlp-train`, the training job."""
    if sys.argv[1:] != ["--version"] and find_spec("torch") is None:
        print("mnist-mlp-train: PyTorch is not installed: pip install 'mnist-mlp[training]'", file=sys.stderr)
        return 2
    return _run("training")


def _run(module: str) -> int:
    if sys.argv[1:] == ["--version"]:
        print(f"mnist-mlp {__version__}")
    else:
        runpy.run_module(f"{__package__}.{module}", run_name="__main__")
    return 0
