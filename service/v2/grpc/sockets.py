"""The connections of one port that gRPC core does not expose, found among this process's file descriptors.

In: a port. Out: the connections' peers, with the system's counters of each (tcp(7), TCP_INFO). Connections can be cut
off, and the listening socket can refuse new ones. Outside of Linux no connection is found.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from ...connection.drain import refuse_connections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DESCRIPTORS = "/proc/self/fd"
SCAN_PAUSE = 20  # times the duration of a scan of all descriptors: at most a twentieth of the time is spent on scans
# Of struct tcp_info (linux/tcp.h): milliseconds since data came, and bytes that have come.
INFO_BYTES = 136
LAST_DATA, RECEIVED = struct.Struct("52xI80x"), struct.Struct("128xQ")
MAPPED = "::ffff:"  # an IPv4 address on a socket for both


class Peer(NamedTuple):
    """The other end of a connection."""

    host: str
    port: int


class Sockets:
    """The sockets of one port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._known: dict[Peer, int] = {}  # descriptors of the last scan
        self._next_scan = 0.0

    def received(self, peers: Iterable[Peer]) -> dict[Peer, int]:
        """Return the bytes received from each of these peers, if its connection is found."""
        sizes = {}
        for peer in peers:
            size = self._received(peer)
            if size is None and time.monotonic() > self._next_scan:
                self.silent_ms()
                size = self._received(peer)
            if size is not None:
                sizes[peer] = size
        return sizes

    def silent_ms(self) -> dict[Peer, int]:
        """Return the milliseconds since each connection last received data."""
        started = time.monotonic()
        silent = {}
        self._known = {}
        for descriptor, found in self._sockets():
            with contextlib.suppress(OSError):  # it listens, or is closed
                peer = _peer(found)
                self._known[peer] = descriptor
                silent[peer] = _info(found, LAST_DATA)
        ended = time.monotonic()
        self._next_scan = ended + SCAN_PAUSE * (ended - started)
        return silent

    def cut(self, peers: set[Peer]) -> None:
        """Cut off these connections; to core, their clients have closed them."""
        for _, found in self._sockets():
            # With a duplicate: another thread may close the descriptor meanwhile, and its number may be reused.
            with contextlib.suppress(OSError):
                if _peer(found) in peers:
                    with found.dup() as duplicate:
                        if _peer(duplicate) in peers:
                            duplicate.shutdown(socket.SHUT_RDWR)

    def refuse(self) -> None:
        """Refuse new connections."""
        for _, found in self._sockets():
            with contextlib.suppress(OSError):
                if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    refuse_connections(found)

    def _received(self, peer: Peer) -> int | None:
        descriptor = self._known.get(peer)
        if descriptor is None:
            return None
        try:
            found = socket.socket(fileno=descriptor)
        except OSError:
            return None
        try:
            return _info(found, RECEIVED) if _peer(found) == peer else None
        except OSError:
            return None
        finally:
            found.detach()

    def _sockets(self) -> Iterator[tuple[int, socket.socket]]:
        """Yield the sockets of this port; each is valid until the next one."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(DESCRIPTORS):  # noqa: PTH208 - names alone
                try:
                    found = socket.socket(fileno=int(name))
                except OSError:
                    continue
                try:
                    if found.family in {socket.AF_INET, socket.AF_INET6} and found.getsockname()[1] == self._port:
                        yield int(name), found
                except OSError:
                    continue
                finally:
                    found.detach()


def peer_of(named: str) -> Peer:
    """Parse core's name of a peer: ipv4:ADDRESS:PORT, or ipv6:%5BADDRESS%5D:PORT."""
    host, _, port = unquote(named).partition(":")[2].rpartition(":")
    return Peer(host.strip("[]"), int(port) if port.isdecimal() else 0)


def _peer(found: socket.socket) -> Peer:
    host, port = found.getpeername()[:2]
    return Peer(host.removeprefix(MAPPED), port)


def _info(found: socket.socket, wanted: struct.Struct) -> int:
    info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES)
    return int(wanted.unpack(info)[0]) if len(info) == INFO_BYTES else 0
