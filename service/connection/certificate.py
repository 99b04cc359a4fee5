"""The certificate of HTTPS, read again when it is renewed.

In: settings, and the files that they name. Out: what new handshakes need to know; a new certificate that cannot be used
leaves the last one that could. It knows no connections; gRPC reads the files for itself.
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

    from ..settings import Settings

POLL_SECONDS = 1.0

State: TypeAlias = "list[tuple[int, int, int] | None]"  # of both files

log = logging.getLogger("service")


class Certificate:
    """The one that new handshakes use."""

    def __init__(self, settings: Settings) -> None:
        """Raises `OSError` or `ValueError` for a bad one."""
        self._settings = settings
        self._used = self._seen = self._state()
        self.context = context(settings)

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Read it again while the context is open, when its files change."""
        task = None if self.context is None else asyncio.create_task(self._follow())
        yield
        if task is not None:
            task.cancel()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(self.poll)

    def poll(self) -> None:
        """Use what is there if it is new, and two looks saw the same: certificate and key come one after the other."""
        before, self._seen = self._seen, self._state()
        if self._seen == self._used or self._seen != before:
            return
        self._used = self._seen
        try:
            self.context = context(self._settings)
        except (OSError, ValueError) as error:
            log.error("MNIST_TLS_CERT_FILE: the new certificate cannot be used, and the last one stays: %s", error)
        else:
            log.info("a new certificate is used")

    def _state(self) -> State:
        paths = (self._settings.tls_cert_file, self._settings.tls_key_file)
        return [files.state(path) for path in paths if path is not None]


def context(settings: Settings) -> ssl.SSLContext | None:
    """For the handshakes of a server; None without a certificate. Raises `OSError` or `ValueError` for a bad one."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A password, though wrong: without one OpenSSL would ask the terminal for that of the key.
    context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
    return context
