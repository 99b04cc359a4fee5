"""A token that one process of a service has at a time, and that is free again however its holder ends.

In: nothing. Out: whether this process has it. It is a name of a socket without a file (man 7 unix, "abstract"): the
system gives it to one process at a time, and takes it back when that closes it or ends. It knows no job.
"""

from __future__ import annotations

import errno
import os
import socket

NAME = "MNIST_TOKEN"  # in the environment that the parent of several workers hands them


class Token:
    """One process's share in it."""

    def __init__(self) -> None:
        self._name = f"\0mnist-mlp-{os.environ.get(NAME, os.getpid())}"
        self._held: socket.socket | None = None

    def acquire(self) -> bool:
        """Whether this process has it now."""
        if self._held is None:
            held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                held.bind(self._name)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    held.close()
                    return False
                # Outside of Linux there are no such names: there each process has a token of its own.
            self._held = held
        return True

    def release(self) -> None:
        """Let another process have it."""
        if self._held is not None:
            self._held.close()
            self._held = None
