"""Check a version's files in a process of its own, limited in memory and time.

In: files that were read, and the largest number of pictures of one run. Out: nothing, or one `ModelError`. The process
(`service.model.check_process`) sends one short message. It is killed when its time is over or nobody waits for it any
more, wherever it hangs.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import struct
import subprocess
import time
from typing import TYPE_CHECKING

from ..errors import ModelError, NotChecked
from ..quoting import printable, quoted
from ..system import confinement, modules
from . import artefact, layout, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..settings import Settings
    from .artefact import Files

# From the start of the process to its verdict: CPU time, of which a good version takes half a second; and time on the
# clock, which lets a pod with a twentieth of a core check it. A worker that starts may wait for another one's check, so
# it is less than the worker's 60 s. A client's command to load is answered sooner.
CPU_SECONDS = 8
SECONDS = 40.0
# Bytes that a model of `artefact.LIMITS` takes beyond the interpreter, and the activations of each picture.
MEMORY, PICTURE_MEMORY = 112 * 2**20, 32 * 2**10
PICTURES = 145  # of one run for an explanation: the most where MNIST_MAX_IMAGES is less
GOOD = b"+"
MAX_VERDICT_BYTES = 1000
LENGTHS = struct.Struct("!5Q")  # bytes of card, model, golden batch, signature and keys, which follow
POLL_SECONDS = 0.05


def memory(max_images: int) -> int:
    """Return the bytes that a version may take while it is checked, and so in each run afterwards."""
    return MEMORY + PICTURE_MEMORY * max(max_images, PICTURES)


def check(settings: Settings, number: int) -> None:
    """Check a version of the folder; raises `ModelError`, or `SettingsError` for keys that cannot be read."""
    if not re.fullmatch(layout.NUMBER, str(number)):  # such a folder is no version, and no pin could name it
        raise ModelError(f"expected a version's number of 1 to 9 digits, found {quoted(str(number))}")
    files = artefact.read_files(settings.model_dir, str(number), signature.read_keys(settings))
    with checking(files, settings.max_images, lambda: False) as running:
        running.wait()


@contextlib.contextmanager
def checking(files: Files, max_images: int, stopped: Callable[[], bool]) -> Iterator[Check]:
    """Run a check while the context is open; raises `NotChecked` where no process can be started."""
    try:
        check = Check(files, max_images, stopped)
    except OSError as error:
        raise NotChecked(f"{files.folder}: no process can be started that checks it: {error.strerror}") from None
    try:
        yield check
    finally:
        check.end()


class Check:
    """One process that checks files."""

    def __init__(self, files: Files, max_images: int, stopped: Callable[[], bool]) -> None:
        """Start the process; raises `OSError`. The check is abandoned when `stopped` returns True."""
        self._folder = files.folder
        self._stopped = stopped
        self._memory = memory(max_images)
        self._until = time.monotonic() + SECONDS
        words = [os.getpid(), CPU_SECONDS, self._memory, max(max_images, PICTURES), files.folder]
        with os.fdopen(os.memfd_create("version"), "r+b", buffering=0) as handed:
            for part in (LENGTHS.pack(*map(len, files[1:])), *files[1:]):
                handed.write(part)
            handed.seek(0)
            self._process = subprocess.Popen(  # noqa: S603 - this program's own module
                modules.command("model.check_process", *map(str, words)),
                stdin=handed,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=modules.FOLDER,
                env=confinement.environment(),
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def wait(self) -> None:
        """Wait for the verdict; raises `ModelError`, or `NotChecked` where the check was abandoned."""
        words = self._message()
        if words.startswith(GOOD):
            return
        if words:
            sentence = words[1:].decode(errors="replace")
            raise ModelError(printable(sentence, "?"))
        ending = self._ending()
        if ending == signal.SIGXCPU.name:
            raise self._takes_longer(f"{CPU_SECONDS} s of CPU time")
        raise ModelError(
            f"{self._folder}: expected a model that is checked in {self._memory >> 20} MiB, "
            f"found that the check ends with {ending}"
        )

    def _takes_longer(self, limit: str) -> ModelError:
        return ModelError(f"{self._folder}: expected a model that is checked in {limit}, found that it takes longer")

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may wait for a disk
            self._process.wait(1)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _message(self) -> bytes:
        """Return the process's message; empty where the process ended without one."""
        assert self._process.stdout is not None
        words = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not words.startswith(GOOD) and len(words) < MAX_VERDICT_BYTES:
                if self._stopped():
                    raise NotChecked(f"{self._folder}: its check was abandoned")
                if selector.select(POLL_SECONDS):
                    piece = os.read(self._process.stdout.fileno(), MAX_VERDICT_BYTES - len(words))
                    if not piece:
                        break
                    words += piece
                elif time.monotonic() > self._until:
                    raise self._takes_longer(f"{SECONDS:g} s")
        return words

    def _ending(self) -> str:
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "no verdict"
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
