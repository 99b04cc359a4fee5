"""The same wrong requests through nginx and haproxy: no request reaches the service that they have not seen."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from benchmarks.hostile import SMUGGLED, wrong_framing
from tests.conftest import Digits, Service, png, running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHAPES = wrong_framing()
NGINX = """
pid {folder}/pid; daemon off; error_log stderr crit;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream service {{ server {service}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_request_buffering off;
        }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend in
    bind 127.0.0.1:{port}
    default_backend out
backend out
    http-reuse always
    server service {service}
"""
COMMANDS = {"nginx": (NGINX, ["nginx", "-c"]), "haproxy": (HAPROXY, ["haproxy", "-db", "-f"])}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """The service behind both."""
    with running_service() as service:
        yield service


@pytest.fixture(scope="module", params=COMMANDS)
def proxy(request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A proxy before it, which keeps its connections to the service; its port."""
    text, command = COMMANDS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    folder: Path = tmp_path_factory.mktemp(request.param)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    config = folder / "config"
    config.write_text(text.format(folder=folder, port=port, service=service.url.removeprefix("http://")))
    with subprocess.Popen([*command, str(config)], stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: _listens(port), f"{request.param} does not start")
            yield port
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def smuggled(service: Service) -> float:
    """How many times the request that was hidden has been answered."""
    text = httpx.get(f"{service.url}/metrics").text
    found = re.findall(r'mnist_http_requests_total\{code="\d+",method="GET",route="/model"\} (\S+)', text)
    return sum(map(float, found))


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_is_smuggled(service: Service, proxy: int, name: str) -> None:
    """The service answers no request that the proxy has not seen: each hidden one that it answers comes back as such.

    Both proxies mend some of what they pass on, and may well see two requests where we would refuse the first.
    """
    before = smuggled(service)
    received = b""
    with socket.create_connection(("127.0.0.1", proxy), timeout=10) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(SHAPES[name] + SMUGGLED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        while piece := connection.recv(65536):
            received += piece
    statuses = re.findall(rb"HTTP/1\.[01] (\d+)", received)
    assert statuses.count(b"200") == smuggled(service) - before


def test_a_good_request_passes(proxy: int, digits: Digits) -> None:
    """The proxies work: a picture is answered through them."""
    answer = httpx.post(f"http://127.0.0.1:{proxy}/predict", content=png(digits.images[0]))
    assert answer.json()["predictions"][0]["digit"] == digits.labels[0]
