"""A token that one process of a service holds at a time, and that is free again however its holder ends.

In: nothing. Out: whether this process holds the token. The token is the name of an abstract socket (man 7 unix), which
one process at a time can bind, and which is free when that process closes the socket or ends. It knows no job.
"""

from __future__ import annotations

import errno
import os
import socket

NAME = "MNIST_TOKEN"  # in the environment, which workers inherit


class Token:
    """The token, as one process sees it."""

    def __init__(self) -> None:
        self._name = f"\0mnist-mlp-{os.environ.get(NAME, os.getpid())}"
        self._held: socket.socket | None = None

    def acquire(self) -> bool:
        """Take the token; return whether this process holds it now."""
        if self._held is None:
            held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                held.bind(self._name)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    held.close()
                    return False
                # Outside of Linux there are no abstract sockets: each process has a token of its own.
            self._held = held
        return True

    def release(self) -> None:
        """Release the token, if this process holds it."""
        if self._held is not None:
            self._held.close()
            self._held = None
