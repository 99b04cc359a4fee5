"""A fault to inject: with this folder on PYTHONPATH, one step of a process fails, or a signal comes at it.

A step is what Python tells its audit hooks (files, sockets, processes, shared memory), or a function named below.
FAULT is an error's name or a signal's; FAULT_AT is the step, from 1 on; FAULT_IN is `main` or `worker`; FAULT_FROM is
`start` or `stop`, which begins with SIGTERM. FAULT_LOG is a file that names the step and the folders that were made.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FAILING = set("mmap.__new__ open os.fork os.mkdir os.truncate socket.__new__ socket.bind subprocess.Popen".split())
FAILING_FUNCTIONS = ((os, "pipe"), (os, "memfd_create"), (threading.Thread, "start"))
OTHERS = {"os.kill", "os.putenv", "os.remove", "os.rmdir", "shutil.rmtree", "tempfile.mkdtemp"}
OTHER_FUNCTIONS = ((signal, "signal"), (signal, "pthread_sigmask"), (signal, "set_wakeup_fd"), (signal, "setitimer"))
OTHER_NAMES = {name for _, name in OTHER_FUNCTIONS}
CODE = (".py", ".pyc", ".so", ".pth", ".cfg")


class Fault:
    """Counts steps, and injects at one of them."""

    def __init__(self, name: str, at: int, log: Path, begin: str) -> None:
        self.name = name
        self._begin = begin
        self._counting = False
        self._at = at
        self._log = log
        self._inside = False
        self._signal = name.startswith("SIG")

    def on_audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """A step that Python tells."""
        if event == "tempfile.mkdtemp":
            self._write(f"made {arguments[0]}")
        if event == "open" and (str(arguments[0]).endswith(CODE) or f"{sys.prefix}/lib" in str(arguments[0])):
            return
        if event == "socket.__new__" and sys._getframe(2).f_code.co_filename.endswith("utils.py"):
            return  # no new one: uvicorn looks at a connection's address
        if event in FAILING or (self._signal and event in OTHERS):
            self.step(event)

    def step(self, name: str) -> None:
        """One more."""
        if name in OTHER_NAMES and not self._signal:
            return
        if not self._counting or self._inside:
            return
        self._at -= 1
        if self._at or self._had():
            return
        self._write(f"at {name}")
        if self._signal:
            os.kill(os.getpid(), signal.Signals[self.name])
        elif name == "start":
            raise RuntimeError("can't start new thread")  # as Python has it
        else:
            number = getattr(errno, self.name)
            raise OSError(number, os.strerror(number))

    def _had(self) -> bool:
        """Whether another worker has had it."""
        self._inside = True
        try:
            self._log.with_suffix(".had").touch(exist_ok=False)
        except FileExistsError:
            return True
        finally:
            self._inside = False
        return False

    def _write(self, line: str) -> None:
        self._inside = True
        with self._log.open("a") as file:
            file.write(f"{line}\n")
        self._inside = False

    def watch(self, owner: Any, name: str) -> None:
        """Make a function's calls steps."""
        real: Callable[..., Any] = getattr(owner, name)

        def stepping(*arguments: Any, **options: Any) -> Any:
            self.step(name)
            if self._begin == "start" and arguments[:1] == (
                signal.SIGALRM,
            ):  # the last that the first instruction does
                self._counting = True
            return real(*arguments, **options)

        setattr(owner, name, stepping)

    def begin_with_sigterm(self) -> None:
        """Count from the first SIGTERM on."""
        real = signal.signal

        def counting(number: int, handler: Any) -> Any:
            def handle(*arguments: Any) -> None:
                self._counting = True
                handler(*arguments)

            return real(number, handle if number == signal.SIGTERM and callable(handler) else handler)

        signal.signal = counting  # type: ignore[assignment]


def install() -> None:
    """In this process."""
    begin = os.environ["FAULT_FROM"]
    fault = Fault(os.environ["FAULT"], int(os.environ["FAULT_AT"]), Path(os.environ["FAULT_LOG"]), begin)
    if begin == "stop":
        fault.begin_with_sigterm()
    for owner, name in FAILING_FUNCTIONS + OTHER_FUNCTIONS:
        fault.watch(owner, name)
    sys.addaudithook(fault.on_audit)


if "-m service" in " ".join(sys.orig_argv):
    if os.environ.get("FAULT_IN") == "main":
        install()
    elif os.environ.get("FAULT_IN") == "worker":
        os.register_at_fork(after_in_child=install)
