"""TLS, where a certificate is set: HTTPS with its fast path, and gRPC, by the same certificate."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.metrics import connections_cut, samples, value
from tests.support.pictures import SEVEN
from tests.support.processes import descriptors
from tests.support.service import ROOT, certificate, running_service, until
from tests.support.slow import Slow

if TYPE_CHECKING:
    from pathlib import Path

from tests.support.service import Service

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


def test_https_and_grpc_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is https, small requests are answered, plain HTTP is not; gRPC has the same certificate."""
    chain, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))  # for httpx, also where the service is awaited
    with running_service(tls_cert_file=chain, tls_key_file=key, grpc_port=0) as service:
        assert service.url.startswith("https://127.0.0.1:")
        assert httpx.post(f"{service.url}/predict", content=SEVEN).json()["predictions"][0]["digit"] == 7
        with pytest.raises(httpx.TransportError):
            httpx.get(service.url.replace("https", "http"))
        credentials = grpc.ssl_channel_credentials(chain.read_bytes())
        with grpc.secure_channel(service.grpc, credentials) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_idle_connections_do_not_hold_the_end_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that keep a connection and do not read, as pools do, answer no goodbye: it ends without."""
    chain, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    context = ssl.create_default_context(cafile=chain)
    with running_service(tls_cert_file=chain, tls_key_file=key) as service, contextlib.ExitStack() as opened:
        for _ in range(3):
            host, port = service.url.removeprefix("https://").split(":")
            plain = opened.enter_context(socket.create_connection((host, int(port)), timeout=30))
            opened.enter_context(context.wrap_socket(plain, server_hostname=host))
        assert service.stop() == 0


def test_handshakes_that_do_not_end_are_cut_off_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent clients, and clients that say hello byte by byte; who has shaken hands meanwhile is answered."""
    chain, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    with running_service(tls_cert_file=chain, tls_key_file=key, timeout_seconds=2) as service:
        plain = service.url.replace("https", "http")
        with Slow(plain, "silent", 50) as silent, Slow(plain, "hello", 50, 0.1) as trickling:
            assert httpx.get(f"{service.url}/readyz").status_code == 200
            until(lambda: len(silent.lived + trickling.lived) == 100, "handshakes are not cut off")
        assert min(silent.lived + trickling.lived) > 1
        assert connections_cut(service, "slow") == 100


def test_silent_clients_do_not_use_up_the_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With 64 of them, 200 connections wait for their handshakes for long: a good client is answered soon, and there is
    always one left for whatever else opens a file."""
    chain, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    under = ["prlimit", "--nofile=64:64"]
    with (
        running_service(tls_cert_file=chain, tls_key_file=key, timeout_seconds=60, under=under) as service,
        Slow(service.url.replace("https", "http"), "silent", 200),
    ):
        until(lambda: _made_room(service) > 100, "nobody else is answered")
        assert descriptors(service) < 64
    assert "Too many open files" not in capfd.readouterr().err


def served(service: Service) -> str:
    """The certificate that a new connection gets."""
    host, port = service.url.removeprefix("https://").split(":")
    return ssl.get_server_certificate((host, int(port)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_renewed_certificate_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], workers: int
) -> None:
    """Without a restart, by every worker; open connections go on; a bad one leaves the last, and is told once."""
    (tmp_path / "new").mkdir()
    chain, key = certificate(tmp_path)
    new_chain, new_key = certificate(tmp_path / "new", days=90)
    new = new_chain.read_text()
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    with running_service(
        tls_cert_file=chain, tls_key_file=key, workers=workers, keep_alive_seconds=60, metrics_port=0
    ) as service:
        assert served(service) == chain.read_text()
        until(lambda: expiry(service) == expiry_of(chain), "the metrics have no expiry")
        with httpx.Client(base_url=service.url, limits=httpx.Limits(keepalive_expiry=None)) as open_before:
            open_before.get("/livez").raise_for_status()
            new_key.rename(key)
            new_chain.rename(chain)
            until(lambda: {served(service) for _ in range(20)} == {new}, "the old one is used still")
            until(lambda: expiry(service) == expiry_of(chain), "the metrics have the old one's expiry")
            chain.write_text("no certificate")
            told: list[str] = []

            def all_tell() -> bool:
                told.extend(line for line in capfd.readouterr().err.splitlines() if "cannot be used" in line)
                return len(told) == workers

            until(all_tell, "the bad one is not told")
            time.sleep(3)  # it is looked at again
            assert all_tell()
            assert served(service) == new
            open_before.get("/livez").raise_for_status()


def expiry(service: Service) -> float:
    return value(samples(service.metrics), "mnist_certificate_expiry_timestamp_seconds")


def expiry_of(chain: Path) -> float:
    """When it expires, as openssl tells."""
    words = ["openssl", "x509", "-enddate", "-noout", "-in", str(chain)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return ssl.cert_time_to_seconds(told.strip().removeprefix("notAfter="))


def _made_room(service: Service) -> float:
    try:
        return connections_cut(service, "full")
    except httpx.TransportError:  # it was full itself
        return 0.0


def test_a_certificate_without_its_key_ends_the_start_with_exit_code_2(tmp_path: Path) -> None:
    """One line names the setting and the file, and nothing is served without TLS instead."""
    chain, _ = certificate(tmp_path)
    command = [sys.executable, "-m", "service", "--port", "0", "--tls-cert-file", str(chain)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"service: MNIST_TLS_CERT_FILE: {chain}: expected a certificate and its key, found")
    assert ended.stderr.count("\n") == 1
