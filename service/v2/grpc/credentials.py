"""The certificate of gRPC over TLS, read again when its files have changed.

In: settings. Out: what each new handshake uses; files that are no certificate with its key leave it as it was. It knows
no connections.
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

POLL_SECONDS = 1.0  # between two looks at the files

log = logging.getLogger("service")


class Renewed:
    """The certificate and its key; called by core at each handshake, in a thread of its own."""

    def __init__(self, settings: Settings, chain: Path, key: Path) -> None:
        self._settings = settings
        self._chain, self._key = chain, key
        self._looked, self._state = time.monotonic(), self._stat()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What is in the files; raises `OSError` or `ValueError` where it cannot be used."""
        certificate.context(self._settings)
        return grpc.ssl_server_certificate_configuration([(self._key.read_bytes(), self._chain.read_bytes())])

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        """What is to be used from now on; None: what was."""
        now = time.monotonic()
        if now - self._looked < POLL_SECONDS:
            return None
        self._looked = now
        state = self._stat()
        if state == self._state:
            return None
        self._state = state
        try:
            return self.read()
        except (OSError, ValueError) as error:
            log.error("gRPC: the certificate cannot be read (%s); the one from before stays", error)
            return None

    def _stat(self) -> list[tuple[int, int, int]]:
        try:
            found = [path.stat() for path in (self._chain, self._key)]
        except OSError:
            return []
        return [(one.st_mtime_ns, one.st_ino, one.st_size) for one in found]


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Of a server; None without a certificate."""
    if settings.tls_cert_file is None:
        return None
    renewed = Renewed(settings, settings.tls_cert_file, settings.tls_key_file or settings.tls_cert_file)
    return grpc.dynamic_ssl_server_credentials(renewed.read(), renewed)
