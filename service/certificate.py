"""The certificate of HTTPS.

In: settings. Out: what handshakes need to know. It knows no connections; gRPC reads the files for itself.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.settings import Settings


def context(settings: Settings) -> ssl.SSLContext | None:
    """For the handshakes of a server; None without a certificate. Raises `OSError` or `ValueError` for a bad one."""
    if settings.tls_cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A password, though wrong: without one OpenSSL would ask the terminal for that of the key.
    context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
    return context
