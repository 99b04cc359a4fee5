"""Places from which services pull versions: real servers on this machine, or small ones that speak the same routes.

An object store is moto's S3 server and Google's emulator, in the environment of the clients; a registry is Debian's
docker-registry; a web server and the Hugging Face Hub are below.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.clients import CLIENTS
from tests.support.service import PATIENCE, certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

REGISTRY = shutil.which("docker-registry")
SECRET = "hunter2-hunter2"  # noqa: S105 - part of each credential: no log line may hold it

BCRYPT = "$2b$04$abcdefghijklmnopqrstuuho/ppTcmsBIj2TNMdOGwEUcNR/Zfi5u"  # of it


@dataclass
class Place:
    """Where versions are pulled from, where they are pushed to, and the environment that both need."""

    source: str
    target: str
    environment: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[Place]:
    """A bucket of moto's server, over HTTP."""
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "",
    }
    with _server(lambda port: [str(CLIENTS), "-m", "moto.server", "-p", str(port)]) as port:
        environment["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        _ask(f"{environment['AWS_ENDPOINT_URL']}/models", "PUT")
        yield Place("s3://models/mnist-mlp", "s3://models/mnist-mlp", environment)


@contextlib.contextmanager
def gs(folder: Path) -> Iterator[Place]:
    """A bucket of an emulator of Google's store."""
    code = (
        "import sys, time; from gcp_storage_emulator.server import create_server\n"
        "server = create_server('127.0.0.1', int(sys.argv[1]), in_memory=True, default_bucket='models')\n"
        "server.start(); time.sleep(3600)"
    )
    with _server(lambda port: [str(CLIENTS), "-c", code, str(port)]) as port:
        environment = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
        yield Place("gs://models/mnist-mlp", "gs://models/mnist-mlp", environment)


@contextlib.contextmanager
def oci(folder: Path) -> Iterator[Place]:
    """A repository of Debian's registry, which asks for a name and a password."""
    if REGISTRY is None:
        pytest.skip("docker-registry is not installed")
    (folder / "htpasswd").write_text(f"tester:{BCRYPT}\n")
    config = folder / "registry.yml"

    def command(port: int) -> list[str]:
        config.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\nauth: {{htpasswd: {{realm: tests, path: {folder}/htpasswd}}}}\n"
        )
        return [str(REGISTRY), "serve", str(config)]

    with _server(command) as port:
        auth = base64.b64encode(f"tester:{SECRET}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {f"127.0.0.1:{port}": {"auth": auth}}}))
        address = f"oci://127.0.0.1:{port}/team/mnist-mlp"
        yield Place(address, address, {"DOCKER_CONFIG": str(folder)})


@contextlib.contextmanager
def https(folder: Path) -> Iterator[Place]:
    """A web server over TLS, which asks for a name and a password; versions are pushed to its folder."""
    chain, _ = certificate(folder)
    with WebServer(folder / "www", tls=folder) as server:
        server.credentials = "Basic " + base64.b64encode(f"tester:{SECRET}".encode()).decode()
        (folder / "netrc").write_text(f"machine 127.0.0.1 login tester password {SECRET}\n")
        (folder / "netrc").chmod(0o600)
        environment = {"SSL_CERT_FILE": str(chain), "NETRC": str(folder / "netrc")}
        yield Place(f"{server.url}/mnist-mlp", str(folder / "www" / "mnist-mlp"), environment)


@contextlib.contextmanager
def hf(folder: Path) -> Iterator[Place]:
    """A repository of a hub that speaks the routes of which the library makes use, with a token."""
    with HubServer() as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": f"hf_{SECRET}", "HF_HOME": str(folder)}
        yield Place("hf://team/mnist-mlp", "hf://team/mnist-mlp", environment)


class Server(http.server.ThreadingHTTPServer):
    """A server in threads, from the start to the end of a context."""

    daemon_threads = True

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends it; a second time does nothing."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing for a client that has gone."""


class WebServer(Server):
    """A web server that hands out a folder, and does what a test asks it to."""

    def __init__(self, folder: Path, *, tls: Path | None = None) -> None:
        """With `tls` it has the certificate of that folder."""
        super().__init__(functools.partial(WebHandler, folder=folder))  # type: ignore[arg-type]
        self.folder = folder
        self.credentials: str | None = None  # of which a request needs the header
        self.faults: dict[str, Callable[[WebHandler, bytes], object]] = {}  # what happens instead, by the path's end
        self.requests: list[str] = []
        self.authorisations: list[str | None] = []
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "chain.pem", tls / "key.pem")
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")


class WebHandler(http.server.BaseHTTPRequestHandler):
    server: WebServer

    def __init__(self, *given: Any, folder: Path) -> None:
        self._folder = folder
        super().__init__(*given)

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.authorisations.append(self.headers["Authorization"])
        if self.server.credentials not in {None, self.headers["Authorization"]}:
            self.send_error(401)
            return
        path = self._folder / unquote(self.path).lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        for end, fault in self.server.faults.items():
            if self.path.endswith(end):
                fault(self, data)
                return
        self.answer(data, len(data))

    def answer(self, data: bytes, length: int) -> None:
        """Send these bytes as a body of `length` bytes."""
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class HubServer(Server):
    """A hub with one repository, whose commits are held in memory."""

    def __init__(self) -> None:
        super().__init__(_HubHandler)
        self.files: dict[str, bytes] = {}
        self.commits: list[str] = []


class _HubHandler(http.server.BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if self.headers["Authorization"] != f"Bearer hf_{SECRET}":
            self._json({"error": "Invalid username or password."}, 401)
        elif found := re.fullmatch("/team/mnist-mlp/resolve/main/(.+)", path):
            self._file(found[1])
        elif found := re.fullmatch("/api/models/team/mnist-mlp/tree/main/?(.*)", path):
            self._tree(f"{found[1]}/" if found[1] else "")
        elif re.fullmatch("/api/models/team/mnist-mlp(/revision/main)?", path):
            self._json({"id": "team/mnist-mlp", "sha": "0" * 40, "siblings": []})
        else:
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the library's names

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/preupload/main"):
            named = json.loads(body)["files"]
            self._json(
                {"files": [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in named]}
            )
        elif self.path.split("?")[0].endswith("/commit/main"):
            lines = [json.loads(line) for line in body.splitlines()]
            self.server.commits.append(lines[0]["value"]["summary"])
            for line in lines[1:]:
                self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._json(
                {"commitUrl": f"{self.server.url}/team/mnist-mlp/commit/0", "commitOid": "0" * 40, "success": True}
            )
        else:
            self._json({})  # the metadata of a README.md are valid

    def _file(self, path: str) -> None:
        if path not in self.server.files:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        data = self.server.files[path]
        self._send(data, 200, {"ETag": f'"{len(data)}"', "X-Repo-Commit": "0" * 40})

    def _tree(self, prefix: str) -> None:
        names = {path.removeprefix(prefix).partition("/") for path in self.server.files if path.startswith(prefix)}
        if prefix and not names:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        folders = {name for name, separator, _ in names if separator}
        files = {name for name, separator, _ in names if not separator}
        self._json(
            [{"type": "directory", "path": f"{prefix}{name}", "oid": "0" * 40, "size": 0} for name in sorted(folders)]
            + [
                {
                    "type": "file",
                    "path": f"{prefix}{name}",
                    "oid": "0" * 40,
                    "size": len(self.server.files[prefix + name]),
                }
                for name in sorted(files)
            ]
        )

    def _json(self, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def _server(command: Callable[[int], list[str]]) -> Iterator[int]:
    """Runs a server on a free port, and waits until it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.05)
            yield port
        finally:
            process.kill()


def _ask(url: str, method: str) -> None:
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=PATIENCE).close()  # noqa: S310


PLACES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {
    "s3": s3,
    "gs": gs,
    "hf": hf,
    "oci": oci,
    "https": https,
}
