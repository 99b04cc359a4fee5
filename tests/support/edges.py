"""The proxies of deploy/ in front of services: their shipped configuration, with other ports, addresses and folders.

In: the services' addresses. Out: a running edge with TLS. Nothing else of the configuration is replaced. It knows
nothing of what is asked through the edge.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from benchmarks.serving.processes import free_port
from tests.support.service import ROOT, certificate, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEPLOY = ROOT / "deploy"
ENVOY = Path(sys.prefix) / "envoy" / "envoy" / "_bin" / "envoy"  # `make scale` installs it
PROGRAMS = {
    name: shutil.which(path) if shutil.which("openssl") else None  # which makes the certificate
    for name, path in (("nginx", "nginx"), ("haproxy", "haproxy"), ("envoy", ENVOY))
}
MAIN = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "envoy.yaml"}
CERTIFICATE = "/run/secrets/edge.pem"


@dataclass(frozen=True)
class Edge:
    """A running proxy with TLS."""

    url: str
    certificate: Path  # that a client trusts
    log: Path
    process: subprocess.Popen[bytes]

    def reload(self, urls: Sequence[str]) -> None:
        """Let nginx have other services, without waiting for it: its old workers end what they have begun."""
        _write_upstreams(self.log.parent, _addresses(urls))
        self.process.send_signal(signal.SIGHUP)


each_program = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(program is None, reason=f"{name} is not installed"))
        for name, program in PROGRAMS.items()
    ],
)


@contextlib.contextmanager
def running_edge(
    name: str, urls: Sequence[str], grpc: Sequence[str] = (), changes: Mapping[str, str] | None = None
) -> Iterator[Edge]:
    """The proxy of this name, which is installed, before these services; `changes` are those of its configuration."""
    port = free_port()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        folder.chmod(0o755)  # nginx's workers are another user where it is started as root
        command = configure(name, folder, port, urls, grpc)
        main = folder / MAIN[name]
        main.write_text(_with(main.read_text(), changes or {}))
        log = folder / "log"
        with log.open("ab") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
            try:
                until(lambda: process.poll() is not None or _listens(port), f"{name} does not start")
                assert process.poll() is None, log.read_text()
                yield Edge(f"https://127.0.0.1:{port}", folder / "chain.pem", log, process)
            finally:
                process.terminate()


def configure(name: str, folder: Path, port: int, urls: Sequence[str], grpc: Sequence[str] = ()) -> list[str]:
    """Write the shipped configuration into a folder, for these services; return the command that starts the proxy.

    `urls` are those of HTTP, `grpc` each HOST:PORT of gRPC, in the same order.
    """
    chain, key = certificate(folder)
    (folder / "edge.pem").write_text(chain.read_text() + key.read_text())
    return WRITERS[name](folder, port, _addresses(urls, grpc))


class Addresses(NamedTuple):
    """Of the services: HOST:PORT of each."""

    web: list[str]
    grpc: list[str]


def _addresses(urls: Sequence[str], grpc: Sequence[str] = ()) -> Addresses:
    return Addresses([url.removeprefix("http://") for url in urls], list(grpc or ["127.0.0.1:1"] * len(urls)))


def _nginx(folder: Path, port: int, addresses: Addresses) -> list[str]:
    text = (DEPLOY / "nginx" / "nginx.conf").read_text()
    text = _with(text, {"listen 8443": f"listen 127.0.0.1:{port}", " /tmp/": f" {folder}/"})
    text = _with(text, {"/dev/stdout": f"{folder}/log", CERTIFICATE: f"{folder}/edge.pem"})
    (folder / "nginx.conf").write_text(text)
    _write_upstreams(folder, addresses)
    return ["nginx", "-c", f"{folder}/nginx.conf"]


def _write_upstreams(folder: Path, addresses: Addresses) -> None:
    text = (DEPLOY / "nginx" / "upstreams.conf").read_text()
    for port_there, known in ((8000, addresses.web), (9000, addresses.grpc)):
        text = _repeated(text, f"service:{port_there}", [{f"service:{port_there}": each} for each in known])
    (folder / "upstreams.conf").write_text(text)


def _haproxy(folder: Path, port: int, addresses: Addresses) -> list[str]:
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
    text = _with(text, {"bind :8443": f"bind 127.0.0.1:{port}", CERTIFICATE: f"{folder}/edge.pem"})
    (folder / "haproxy.cfg").write_text(text)
    text = (DEPLOY / "haproxy" / "servers.cfg").read_text()
    found = " resolvers docker init-addr none"  # names alone are looked up
    of_web = [
        {"server-template service 32 service:8000": f"server service-{number} {web}", found: ""}
        for number, web in enumerate(addresses.web)
    ]
    of_grpc = [
        {
            "server-template grpc 32 service:9000": f"server grpc-{number} {grpc}",
            "port 8000": f"port {web.rpartition(':')[2]}",
            found: "",
        }
        for number, (web, grpc) in enumerate(zip(*addresses, strict=True))
    ]
    text = _repeated(_repeated(text, "service:8000", of_web), "service:9000", of_grpc)
    (folder / "servers.cfg").write_text(text)
    return ["haproxy", "-db", "-f", f"{folder}/haproxy.cfg", "-f", f"{folder}/servers.cfg"]


def _envoy(folder: Path, port: int, addresses: Addresses) -> list[str]:
    text = (DEPLOY / "envoy" / "envoy.yaml").read_text()
    text = _with(
        text, {"0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {port}", CERTIFICATE: f"{folder}/edge.pem"}
    )
    for port_there, known in ((8000, addresses.web), (9000, addresses.grpc)):
        there = f"address: service, port_value: {port_there}"
        here = [{there: "address: {}, port_value: {}".format(*each.split(":"))} for each in known]
        text = _repeated(text, there, here)
    (folder / "envoy.yaml").write_text(text)
    return [str(ENVOY), "-c", f"{folder}/envoy.yaml", "--use-dynamic-base-id", "-l", "error", "--concurrency", "2"]


WRITERS = {"nginx": _nginx, "haproxy": _haproxy, "envoy": _envoy}


def _with(text: str, changes: Mapping[str, str]) -> str:
    """The text with these changes, each of which is one."""
    for old, new in changes.items():
        assert old in text, f"the configuration has no {old!r}"
        text = text.replace(old, new)
    return text


def _repeated(text: str, mark: str, changes: Sequence[Mapping[str, str]]) -> str:
    """The text with the line that has this mark once for each of the changes."""
    (line,) = (line for line in text.splitlines() if mark in line)
    return text.replace(line, "\n".join(_with(line, each) for each in changes))


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False
