"""The certificate of HTTPS, which is read again when its files change.

In: settings, and the files that they name. Out: the SSL context of new handshakes, and in the metrics when its
certificate expires. If a new certificate is unusable, the last usable one stays. gRPC reads the files itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING, TypeAlias

from ..system import files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ..observability.metrics import Metrics
    from ..settings import Settings

POLL_SECONDS = 1.0

State: TypeAlias = "list[tuple[int, int, int] | None]"  # one entry for the certificate, one for the key

log = logging.getLogger("service")


class Certificate:
    """The certificate that new handshakes use; a bad one raises `OSError` or `ValueError` at the start."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._expiry = metrics.worker.certificate_expiry
        self._used = self._seen = self._state()
        self.context = context(settings)
        self._report()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow changes of the files while the context is open."""
        task = None if self.context is None else asyncio.create_task(self._follow())
        yield
        if task is not None:
            task.cancel()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.poll)

    def poll(self) -> None:
        """Use new files once two polls saw the same state: the certificate and the key are replaced one by one."""
        before, self._seen = self._seen, self._state()
        if self._seen == self._used or self._seen != before:
            return
        self._used = self._seen
        try:
            self.context = context(self._settings)
        except (OSError, ValueError) as error:
            log.error("MNIST_TLS_CERT_FILE: the new certificate cannot be used; the last one stays: %s", error)
        else:
            log.info("new handshakes use a new certificate")
            self._report()

    def _report(self) -> None:
        path = self._settings.tls_cert_file
        with contextlib.suppress(OSError):  # it is being replaced, and the next poll sees it
            if path is not None:
                self._expiry.set(expiry(path))

    def _state(self) -> State:
        paths = (self._settings.tls_cert_file, self._settings.tls_key_file)
        return [files.state(path) for path in paths if path is not None]


def expiry(path: Path) -> float:
    """Return when the first certificate of a file that OpenSSL accepts expires, Unix time."""
    # Python has no public function that reads a certificate which is not a peer's.
    found = ssl._ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    return ssl.cert_time_to_seconds(found["notAfter"])


def context(settings: Settings) -> ssl.SSLContext | None:
    """Return the server's SSL context, or None without a certificate; a bad one raises `OSError` or `ValueError`."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Without any password, OpenSSL would ask for it on the terminal.
    context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
    return context
