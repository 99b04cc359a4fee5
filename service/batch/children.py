"""A process of a batch, as its parent sees it: messages to it and from it, and how it has ended.

In: the module that it runs. Out: its messages. It ends with its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from ..reader.wire import Decoder, Message, receive, send
from ..system import confinement, modules, signals

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ORDER_BYTES = 2**30  # the inputs may be many
MAX_ROWS_BYTES = 64 * 2**20  # of a block's rows: its pictures' names and errors
# Arrow's own allocators reserve more addresses than the feeder may have, and so do glibc's arenas for threads.
LEAN = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
END_SECONDS = 2.0  # for a process to end by itself
FEEDER, WORKER = "batch.feeder", "batch.worker"


def hear(connection: socket.socket, decoder: Decoder) -> tuple[Message, int | None] | None:
    """Return the next message and its descriptor; None where the other side has ended, however it has."""
    try:
        return receive(connection, decoder)
    except ConnectionError:
        return None


def tell(connection: socket.socket, message: Message, descriptor: int | None = None) -> None:
    """Send a message; where the other side has ended, `hear` says so."""
    with contextlib.suppress(ConnectionError):
        send(connection, message, descriptor)


def receive_order(connection: socket.socket, decoder: Decoder) -> dict[str, Any] | None:
    """Return the order that a process gets first; None where its parent has ended."""
    received = hear(connection, decoder)
    return None if received is None else decode_order(received[0].payload)


def encode_order(order: Mapping[str, object]) -> bytes:
    """Return an order as bytes; paths in it may have bytes that are no UTF-8, which orjson refuses."""
    return json.dumps(order).encode()


def decode_order(data: bytes) -> dict[str, Any]:
    """Return the order in these bytes."""
    order: dict[str, Any] = json.loads(data)
    return order


class Child:
    """One process, until it is ended."""

    def __init__(self, module: str, order: Mapping[str, object]) -> None:
        """Start the process, and send it its order; raises `OSError`."""
        self.connection, theirs = socket.socketpair()
        self._decoder = Decoder(MAX_ROWS_BYTES)
        environment = dict(os.environ) if module == FEEDER else confinement.environment()
        with theirs, signals.blocking():  # for all of its life: a terminal sends its signals to all processes
            self._process = subprocess.Popen(  # noqa: S603 - this program's own module
                modules.command(module, str(theirs.fileno()), str(os.getpid())),
                cwd=modules.FOLDER,
                env=environment | LEAN,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self.tell(Message({}, encode_order(order)))

    def tell(self, message: Message, descriptor: int | None = None) -> None:
        """Send a message; where the process has ended, `hear` says so."""
        tell(self.connection, message, descriptor)

    def hear(self) -> tuple[Message, int | None] | None:
        """Return the next message, with its descriptor; None where the process has ended."""
        return hear(self.connection, self._decoder)

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self.end()

    def end(self) -> str:
        """Return how the process has ended; it has closed its connection."""
        self.connection.close()
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
