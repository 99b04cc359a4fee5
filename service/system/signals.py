"""How a signal ends this process while nothing better does: from its first instruction on, and when all else is done.

In: SIGTERM, SIGINT and SIGHUP. Out: what was left for the end is done, the last log lines are written, and the process
ends with its exit code, whatever its threads do. It knows neither requests nor workers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

TERMINATING = frozenset({signal.SIGTERM, signal.SIGINT})
# Of the time to end after a signal: the last part is for what comes when all else is cut off, and a little later the
# system ends the process, which has no good exit code then.
LEAST_SECONDS, LAST_SECONDS, LATE_SECONDS = 0.5, 0.3, 0.2
END_SECONDS = 2.0  # that the end may take: the system ends the process then

at_end = contextlib.ExitStack()  # what is to be done before this process ends
HELD = TERMINATING | {signal.SIGHUP}


def install() -> None:
    """From now on SIGTERM and SIGINT end this process at once, with exit code 0; SIGHUP is for later."""
    for number in TERMINATING:
        signal.signal(number, lambda *_: end(0))
    signal.signal(signal.SIGHUP, ignore)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever this process has inherited


def ignore(*_: object) -> None:
    """A handler that does nothing. Unlike SIG_IGN, programs that this one starts do not inherit it."""


def end(code: int) -> NoReturn:
    """End this process. Nothing that has hung, or is never read, keeps it."""
    if threading.current_thread() is threading.main_thread():
        for number in HELD:
            signal.signal(number, ignore)
    kill_within(END_SECONDS)
    at_end.close()
    os._exit(code)


def kill_within(seconds: float) -> None:
    """Let the system end this process then, or sooner. It does so also where no code of Python's can run any more."""
    before, _ = signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, before or seconds))


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals that come meanwhile come afterwards; a program that is started meanwhile takes them when it lets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def on_hangup(loop: asyncio.AbstractEventLoop, action: Callable[[], object]) -> Iterator[None]:
    """SIGHUP calls this in the loop meanwhile, and does nothing afterwards."""
    signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(action))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, ignore)
