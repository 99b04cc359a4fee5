"""The process that forks readers, as the worker sees it: started, ordered to fork and to kill, and started again.

In: sockets for readers, and numbers of readers to be killed. Out: how each reader ended, and when the process itself
has ended, and with it all readers. It knows no job.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from typing import TYPE_CHECKING

from ..system import confinement, modules
from .wire import Decoder, Message, ProtocolError, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from .jobs import Limits


class ForkServer:
    """One process, from when it is made until it is closed or has ended."""

    def __init__(self, reader_ended: Callable[[int, str], None], ended: Callable[[], None]) -> None:
        """Start it; raises `OSError`. `reader_ended` hears a reader's number and how it ended."""
        self._reader_ended = reader_ended
        self._ended = ended
        self._decoder = Decoder(0)
        self._loop = asyncio.get_running_loop()
        self._control, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = _start(theirs)
            except BaseException:
                self._control.close()
                raise
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._hear)

    def start_reader(self, number: int, connection: socket.socket, limits: Limits) -> None:
        """Fork a reader that answers on `connection`; raises `OSError`."""
        send(self._control, Message({"reader": number, "limits": limits._asdict()}), connection.fileno())

    def kill(self, number: int) -> None:
        """Kill a reader; raises `OSError`."""
        send(self._control, Message({"reader": number}))

    def kill_all(self) -> None:
        """Kill the process, and with it all readers."""
        self._process.kill()

    def close(self) -> None:
        """End it, and all readers with it."""
        self._loop.remove_reader(self._control)
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _hear(self) -> None:
        try:
            data = self._control.recv(65_536)
            messages = list(self._decoder.feed(data))
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            data, messages = b"", []
        for message in messages:
            self._reader_ended(message.header["reader"], message.header["ended"])
        if not data:
            self.close()
            self._ended()


def _start(connection: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - this program's own module
        modules.command("reader", str(connection.fileno()), str(os.getpid())),
        cwd=modules.FOLDER,
        env=confinement.environment(),
        pass_fds=[connection.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
