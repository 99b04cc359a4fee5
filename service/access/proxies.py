"""Proxies that are trusted to say whose requests they pass on.

In: their networks, the address that a connection comes from, and a request's headers. Out: the client's address. It
knows X-Forwarded-For, and what the address is for no more than who sends it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from ..settings import networks

if TYPE_CHECKING:
    from collections.abc import Iterable

HOPS = 16  # proxies before this one at most


class TrustedProxies:
    """The addresses and networks of a setting; none where it is unset."""

    def __init__(self, text: str | None = None) -> None:
        self._networks = networks(text) if text else ()

    def client(self, peer: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Whose request this is: the peer's, or of the addresses that a trusted peer forwards the last that is not
        trusted. What stands to its left is the client's own word.
        """
        if peer is None or not self._networks or not self._trusts(_address(peer)):
            return peer
        forwarded = b",".join(value for name, value in headers if name == b"x-forwarded-for")
        client = peer
        for text in reversed(forwarded.decode("latin-1").rsplit(",", HOPS)):
            address = _address(text.strip())
            if address is None:
                break
            client = str(address)
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; None for what is none."""
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address
