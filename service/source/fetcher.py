"""The process that follows a source, as its parent sees it: start it, wait for its first poll, keep it alive.

In: settings, and the state that all processes share. Out: the process, restarted after pauses that grow while it keeps
dying, and the problem of its last poll, which the model's folder keeps for `status`. It imports no library of a source.
A thread does this, so that neither the supervisor nor a worker ever waits. A batch has one poll, and waits for it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..model import layout
from ..system import modules, signals
from ..versions.shared_state import SharedState
from . import state

if TYPE_CHECKING:
    from ..settings import Settings

COMMAND = [sys.executable, "-c", f"from {modules.PACKAGE}.source.process import main; main()"]
ENVIRONMENT = {  # unless it says otherwise itself
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # it would load gRPC, and ask for each bucket's kind
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MALLOC_ARENA_MAX": "2",  # the process's address space is limited
}
# That a start waits for the first poll: where no version was pulled before, and where the service can do without.
FIRST_SECONDS, CACHED_SECONDS = 60.0, 5.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # seconds, from the end of a process to the next

log = logging.getLogger("service")


class Fetcher:
    """The process that follows the source of the settings, until this process ends."""

    def __init__(self, settings: Settings, shared_state: SharedState) -> None:
        """Start it; raises `OSError` where the model's folder cannot be written."""
        _make_folder(settings)
        self._settings = settings
        self._shared_state = shared_state
        self._polled = threading.Event()
        self._problem = ""
        threading.Thread(target=self._keep_alive, name="fetcher", daemon=True).start()

    def wait(self) -> str:
        """Wait for the first poll, but not longer than a start may; return its problem, empty for none."""
        try:
            seconds = CACHED_SECONDS if layout.numbers(self._settings.model_dir) else FIRST_SECONDS
        except ModelError:
            seconds = CACHED_SECONDS if self._settings.model_wait else FIRST_SECONDS
        if not self._polled.wait(seconds):
            return f"{self._settings.model_source} has not answered within {seconds:g} s"
        return self._problem

    def _keep_alive(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                ending = self._run()
            except OSError as error:
                ending = f"not started: {error.strerror}"
            if self._problem == "":
                pause = FIRST_PAUSE
            self._report(_ended(ending))
            log.error("%s; another one starts in %g s", self._problem, pause)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _run(self) -> str:
        """Run the process to its end, and return how it has ended; raises `OSError`."""
        with _start(self._settings, self._shared_state) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self._report(_problem(line))
        return _ending(process.returncode)

    def _report(self, problem: str) -> None:
        self._problem = problem
        state.write_problem(self._settings.model_dir, problem)
        self._polled.set()


def pull_once(settings: Settings) -> str:
    """Poll the source once, to the end of the poll; return its problem, empty for none.

    Raises `OSError` where the model's folder cannot be written, or the process cannot be started.
    """
    _make_folder(settings)
    with _start(settings, SharedState(shared=True)) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()  # it waits for the next poll
    problem = _problem(line) if line else _ended(_ending(process.returncode))
    state.write_problem(settings.model_dir, problem)
    return problem


def _make_folder(settings: Settings) -> None:
    """Make the model's folder where there is none; raises `OSError` where it cannot be written."""
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(settings.model_dir, os.W_OK):
        raise OSError(
            f"MNIST_MODEL_DIR: {settings.model_dir} cannot be written, and MNIST_MODEL_SOURCE keeps versions there"
        )


def _start(settings: Settings, shared_state: SharedState) -> subprocess.Popen[bytes]:
    """Start the process with its job; raises `OSError`."""
    assert shared_state.descriptor is not None
    job = {
        "settings": settings.model_dump(mode="json"),
        "parent": os.getpid(),
        "shared_state": shared_state.descriptor,
    }
    with signals.blocking():  # for all of its life: a terminal sends its signals to all processes
        process = subprocess.Popen(  # noqa: S603 - our own words
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[shared_state.descriptor],
            env=ENVIRONMENT | os.environ,
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # it has died before
        stdin.write(json.dumps(job).encode())  # a path may have bytes that are no UTF-8
    return process


def _problem(line: bytes) -> str:
    return line[1:].decode(errors="replace").strip()


def _ended(ending: str) -> str:
    return f"the process that pulls versions has ended: {ending}"


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
