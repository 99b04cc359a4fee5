"""Does the service keep what is said of it? Schemathesis makes requests up from a schema and checks every answer.

Two schemas: the service's own `/openapi.json`, and the one that the Open Inference Protocol publishes. What the tool
cannot know is in schemathesis.toml, each with its reason.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PROTOCOL = FOLDER / "open_inference_rest.yaml"


def explored(schema: str | Path, url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs Schemathesis with every check over a schema, at an address or in a file; its output tells what failed."""
    tool = [str(Path(sys.prefix) / "bin" / "schemathesis"), "--config-file", str(FOLDER / "schemathesis.toml")]
    command = [*tool, "run", str(schema), "--url", url, "--checks", "all", "--no-color", *words]
    return subprocess.run(command, cwd=FOLDER.parents[2], capture_output=True, text=True, check=False)
