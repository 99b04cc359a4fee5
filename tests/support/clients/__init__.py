"""Clients that people use, each asked in the environment that holds it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

# `make test` makes it, beside the environment that runs the tests.
CLIENTS = Path(sys.prefix) / "clients" / "bin" / "python"


def facts(client: str, *words: str) -> dict[str, Any]:
    """What ask_<client>.py found."""
    command = [str(CLIENTS), str(Path(__file__).parent / f"ask_{client}.py"), *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found
