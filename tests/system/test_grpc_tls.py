"""gRPC over TLS while the certificate changes: new handshakes use the new one, and a bad one changes nothing."""

from __future__ import annotations

import shutil
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from service.v2.grpc.credentials import POLL_SECONDS
from tests.support.service import Service, certificate, running_service, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


def shown(service: Service) -> str:
    """The certificate that a client of gRPC is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = service.grpc.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as connection,
        context.wrap_socket(connection) as wrapped,
    ):
        return ssl.DER_cert_to_PEM_cert(wrapped.getpeercert(binary_form=True) or b"")


def test_a_renewed_certificate_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate without its key is not taken; when its key has come, it is; a damaged one changes nothing."""
    chain, key = certificate(tmp_path)
    both = tmp_path / "both.pem"
    (tmp_path / "new").mkdir()
    new_chain, new_key = certificate(tmp_path / "new")
    both.write_text(chain.read_text() + new_chain.read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    with running_service(tls_cert_file=chain, tls_key_file=key, grpc_port=0) as service:
        old, new = chain.read_text(), new_chain.read_text()
        assert shown(service) == old
        chain.write_text(new)
        time.sleep(POLL_SECONDS)
        assert shown(service) == old
        key.write_text(new_key.read_text())
        until(lambda: shown(service) == new, "the new certificate is not used")
        chain.write_text("damaged")
        key.unlink()
        time.sleep(POLL_SECONDS)
        assert shown(service) == new
