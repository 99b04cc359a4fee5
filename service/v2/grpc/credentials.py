"""The certificate of gRPC over TLS, which is read again when its files change.

In: settings. Out: the certificate of new handshakes. If the new files are unusable, the last certificate stays.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import grpc

from ...connection import certificate

if TYPE_CHECKING:
    from pathlib import Path

    from ...settings import Settings

POLL_SECONDS = 1.0

log = logging.getLogger("service")


class Renewed:
    """The certificate and its key; gRPC core calls it at each handshake, in a thread of its own."""

    def __init__(self, settings: Settings, chain: Path, key: Path) -> None:
        self._settings = settings
        self._chain, self._key = chain, key
        self._polled, self._state = time.monotonic(), self._stat()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read the files; raises `OSError` or `ValueError` if they are unusable."""
        certificate.context(self._settings)
        return grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._chain.read_bytes())])

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificate of new files, or None to keep the last one."""
        now = time.monotonic()
        if now - self._polled < POLL_SECONDS:
            return None
        self._polled = now
        state = self._stat()
        if state == self._state:
            return None
        self._state = state
        try:
            return self.read()
        except (OSError, ValueError) as error:
            log.error("gRPC: the new certificate cannot be used (%s); the last one stays", error)
            return None

    def _stat(self) -> list[tuple[int, int, int]]:
        try:
            stats = [path.stat() for path in (self._chain, self._key)]
        except OSError:
            return []
        return [(stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats]


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return the server's credentials; None without a certificate."""
    if settings.tls_cert_file is None:
        return None
    renewed = Renewed(settings, settings.tls_cert_file, settings.tls_key_file or settings.tls_cert_file)
    return grpc.dynamic_ssl_server_credentials(renewed.read(), renewed)
