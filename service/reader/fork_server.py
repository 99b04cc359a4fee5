"""The fork server, as the worker sees it: start it, and have it fork and kill readers.

In: sockets for readers, and numbers of readers to kill. Out: how each reader ended; and when the fork server itself
has ended, and all readers with it. It knows no job.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from typing import TYPE_CHECKING

from ..system import confinement, modules, signals
from .wire import Decoder, Message, ProtocolError, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from .jobs import Limits


class ForkServer:
    """One fork server, until it is closed or has ended."""

    def __init__(self, reader_ended: Callable[[int, str], None], ended: Callable[[], None]) -> None:
        """Start the process; raises `OSError`. `reader_ended` is called with a reader's number and how it ended."""
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
        self._loop.add_reader(self._control, self._read_reports)

    def start_reader(self, number: int, connection: socket.socket, limits: Limits) -> None:
        """Fork a reader that answers on `connection`; raises `OSError`."""
        send(self._control, Message({"reader": number, "limits": limits._asdict()}), connection.fileno())

    def kill(self, number: int) -> None:
        """Kill a reader; raises `OSError`."""
        send(self._control, Message({"reader": number}))

    def kill_all(self) -> None:
        """Kill the process, and so all readers."""
        self._process.kill()

    def close(self) -> None:
        """End the process and all readers."""
        self._loop.remove_reader(self._control)
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _read_reports(self) -> None:
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
    with signals.blocking():  # for all of its life: a terminal sends its signals to all processes
        return subprocess.Popen(  # noqa: S603 - this program's own module
            modules.command("reader", str(connection.fileno()), str(os.getpid())),
            cwd=modules.FOLDER,
            env=confinement.environment(),
            pass_fds=[connection.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
