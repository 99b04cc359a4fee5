"""Find the client's address behind trusted proxies, from X-Forwarded-For.

In: the proxies' networks, the address that a connection comes from, and a request's headers. Out: the client's address.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from ..settings import networks

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_HOPS = 16  # addresses of X-Forwarded-For that are read


class TrustedProxies:
    """The trusted addresses and networks of a setting."""

    def __init__(self, text: str | None = None) -> None:
        self._networks = networks(text) if text else ()

    def client(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Return the client's address: the peer, or for a trusted peer the last untrusted address that it forwards.

        A client can write anything to the left of that address.
        """
        if peer is None or not self.trusts(peer):
            return peer
        forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        client = peer
        for text in reversed(forwarded.decode("latin-1").rsplit(",", MAX_HOPS)):
            address = _address(text.strip())
            if address is None:
                break
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def trusts(self, peer: str | None) -> bool:
        """Return whether a connection comes from a trusted proxy."""
        return peer is not None and bool(self._networks) and self._trusts(_address(peer))

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; None for other text."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
