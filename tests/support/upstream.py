"""A server behind a proxy that shows what reaches it: a request's headers, and requests that get no response.

In: a path that says what to do. Out: an address, and the requests that came.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BREAK = "/break"


class Upstream(http.server.ThreadingHTTPServer):
    """`BREAK` closes the connection without a response; any other path returns the request's headers as JSON."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), _Handler)
        self.port = self.server_address[1]
        self.url = f"http://{host}:{self.port}"
        self.requests: list[str] = []  # method and path, without probes

    def handle_error(self, *_: object) -> None:
        """Write nothing when a proxy closes a connection."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/readyz":
            self.server.requests.append(f"{self.command} {self.path}")
        if self.path == BREAK:
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = json.dumps(headers | {"length": len(body)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def running_upstream(host: str = "127.0.0.1", port: int = 0) -> Iterator[Upstream]:
    with Upstream(host, port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
