"""The fork server: a process that has imported everything a reader needs, and forks readers.

    python -m service.reader SOCKET PARENT

In: commands on its socket, to fork a reader with this socket and these limits, or to kill one. Out: on the same socket,
how each reader ended. A fork takes some milliseconds and shares memory with the others; a new process would take 0.3 s.
It starts with the signals blocked that end a service: it ends with its parent, and its readers end with it. It reads no
untrusted byte.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from ..observability.labels import LARGE_READER_NAME, READER_NAME
from ..picture import others  # noqa: F401 - decoders that all readers share
from ..system import confinement, processes
from .jobs import Jobs, Limits
from .wire import Decoder, Message, encode, receive, send

if TYPE_CHECKING:
    from typing import NoReturn

MAX_INLINE = 2**17  # bytes of a body that is in its job's message
NOBODY = 0  # in the place of a reader's process id


class ForkServer:
    """Forks readers, and reaps them."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._decoder = Decoder(0)
        self._pids: dict[int, int] = {}  # by the worker's number of the reader
        self._woken, self._waking = socket.socketpair()
        for end in (self._woken, self._waking):
            end.setblocking(False)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Obey commands until the worker has ended."""
        with selectors.DefaultSelector() as selector:
            for source in (self._control, self._woken):
                selector.register(source, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._woken in ready:
                    self._woken.recv(4096)
                    self._reap()
                if self._control in ready and not self._read_commands():
                    return

    def _read_commands(self) -> bool:
        """Obey the commands that have arrived; return False when the worker has ended."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65_536, 1)
        except ConnectionError:  # it was killed
            return False
        for command in self._decoder.feed(data):
            if "limits" in command.header:  # each message brings one descriptor at most
                self._fork(command.header, descriptors.pop())
            elif (pid := self._pids.get(command.header["reader"], NOBODY)) != NOBODY:
                os.kill(pid, signal.SIGKILL)  # an unreaped child: the id is still its own
        return bool(data)

    def _fork(self, command: dict[str, Any], descriptor: int) -> None:
        number = int(command["reader"])
        with socket.socket(fileno=descriptor) as connection:
            parent = os.getpid()
            try:
                pid = os.fork()
            except OSError as error:  # no process, or no memory for one
                self._report(number, f"not started: {error.strerror}")
                return
            if pid == NOBODY:
                self._become_reader(connection, parent, Limits(**command["limits"]))
            self._pids[number] = pid

    def _become_reader(self, connection: socket.socket, parent: int, limits: Limits) -> NoReturn:
        try:
            confinement.end_with(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            processes.set_name(LARGE_READER_NAME if limits.large else READER_NAME)
            confinement.silence()
            confinement.limit_memory(limits.memory_bytes)
            read_jobs(connection, limits)
        finally:
            os._exit(0)

    def _reap(self) -> None:
        """Reap readers that have ended, and report to the worker how."""
        names = {pid: number for number, pid in self._pids.items()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = names[pid]
            del self._pids[number]
            self._report(number, signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "ended")

    def _report(self, number: int, ended: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the worker was killed
            send(self._control, Message({"reader": number, "ended": ended}))


def read_jobs(connection: socket.socket, limits: Limits) -> None:
    """Do jobs until the worker has ended."""
    decoder, jobs = Decoder(MAX_INLINE), Jobs(limits)
    while (received := receive(connection, decoder)) is not None:
        message, descriptor = received
        data = message.payload
        try:
            if descriptor is not None:
                data = os.pread(descriptor, message.header["size"], 0)
                os.close(descriptor)
            found = jobs.run(message.header, data)
            if limits.large:  # if it dies, the worker knows how far it came
                for one in found:
                    connection.sendall(encode(one))
            else:
                connection.sendall(b"".join(map(encode, found)))
        except MemoryError:
            send(connection, jobs.pass_on(message.header["first"], "The body"))
        except Exception as error:  # noqa: BLE001 - the worker gets any error, and logs it
            send(connection, Message({"fault": repr(error)[:500]}))


def main(arguments: list[str]) -> int:
    """Run the fork server; returns the exit code."""
    descriptor, parent = map(int, arguments)
    confinement.end_with(parent)
    processes.set_name(READER_NAME)
    gc.freeze()  # readers share the memory of imported modules
    with socket.socket(fileno=descriptor) as control:
        ForkServer(control).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
