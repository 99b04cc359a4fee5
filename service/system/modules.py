"""Start modules of this package as processes of their own, whatever name the package is installed under."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = __package__.rpartition(".")[0]  # `service`, or `mnist_mlp.service` where the wheel is installed
FOLDER = Path(__file__).parents[PACKAGE.count(".") + 2]  # where Python finds the top-level package


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this package; its working directory must be `FOLDER`."""
    return [sys.executable, "-m", f"{PACKAGE}.{module}", *arguments]
