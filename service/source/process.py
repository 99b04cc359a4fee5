"""The process that follows a source: it alone imports the library of the source, and has the time to wait for it.

In: its job on stdin, as JSON. Out: versions in the model's folder, log lines on stderr, and one line on stdout after
each poll: `+`, or `-` and a sentence. A poll that takes too long ends the process by SIGALRM; the parent starts another
one. It ends with its parent.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

from ..observability import logs
from ..settings import Settings
from ..system import confinement
from ..versions.shared_state import SharedState
from . import pull
from .follower import Follower
from .remote import open_remote

MAX_POLL_SECONDS = 300  # of one poll, with all that it pulls
MEMORY = 2**30  # bytes beyond those at the start; a version takes some 100 MB
NICE = 10  # requests go first
LOG_SECONDS = 0.3  # for lines to be written
LOOK_SECONDS = 1.0  # until a pin to a version that is missing is seen
MAX_FAILURES = 4  # in succession that count: each doubles the time to the next poll, from the second on
JITTER = 0.1  # of a pause, so that many services do not poll at once


def main() -> None:
    """Follow the source until the parent ends."""
    job = json.loads(sys.stdin.buffer.read())
    confinement.end_with(job["parent"])
    os.nice(NICE)
    settings = Settings(**job["settings"])
    assert settings.model_source is not None
    lines = _log(settings)
    reports = _report_pipe()
    shared_state = SharedState(shared=True, descriptor=job["shared_state"])
    follower = Follower(settings, partial(open_remote, settings.model_source), lambda: shared_state.serving)
    confinement.limit_memory(MEMORY)
    failures = 0
    while True:
        problem = _poll(follower, settings.model_dir)
        lines.flush_within(LOG_SECONDS)  # the parent may end with a line of its own
        os.write(reports, f"-{problem}\n".encode() if problem else b"+\n")
        failures = min(failures + 1, MAX_FAILURES) if follower.failing else 0
        pause = settings.model_source_seconds * 2 ** max(failures - 1, 0)
        _wait(follower, shared_state, pause * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - no secret


def _poll(follower: Follower, model_dir: Path) -> str:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(pull.locking(model_dir))
        except OSError as error:  # as where another user has made the lock
            return follower.fail(error)
        signal.setitimer(signal.ITIMER_REAL, MAX_POLL_SECONDS)
        try:
            return follower.poll()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _wait(follower: Follower, shared_state: SharedState, seconds: float) -> None:
    """Wait for the next poll, or until an operator asks for one, or names another version that is missing."""
    until, asked, missing = time.monotonic() + seconds, shared_state.polls, follower.missing()
    while time.monotonic() < until and shared_state.polls == asked and not follower.missing() - missing:
        time.sleep(min(LOOK_SECONDS, seconds))


def _log(settings: Settings) -> logs.Lines:
    """Log as all processes of the service, but nothing of what libraries log, print or raise: it may hold secrets."""
    logs.start(settings.log_level, settings.log_format)
    (lines,) = logging.getLogger().handlers
    assert isinstance(lines, logs.Lines)
    logging.getLogger().setLevel(logging.CRITICAL)
    logging.getLogger("service").setLevel(settings.log_level.upper())
    threading.excepthook = lambda _: None
    sys.unraisablehook = lambda _: None
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    return lines


def _report_pipe() -> int:
    """Return a descriptor of the pipe on stdout, which libraries no longer reach then."""
    reports = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return reports
