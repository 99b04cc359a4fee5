"""What HTTP itself costs: Debian's nginx, which answers every request with an empty 200."""

from __future__ import annotations

import shutil
import sys
import tempfile
from os import execv
from pathlib import Path

from benchmarks.serving.peers.model import PORT, WORKERS

CONFIGURATION = f"""
daemon off;
worker_processes {WORKERS};
error_log stderr;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{PORT};
        location / {{ return 200; }}
    }}
}}
"""


def main() -> None:
    """Become nginx."""
    program = shutil.which("nginx")
    if not program:
        sys.exit("nginx is not installed; Debian has it: apt-get install nginx-light")
    folder = tempfile.mkdtemp()
    Path(folder, "nginx.conf").write_text(CONFIGURATION)
    execv(program, [program, "-p", folder, "-c", "nginx.conf"])  # noqa: S606


if __name__ == "__main__":
    main()
