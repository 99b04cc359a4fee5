"""End this process on a signal while no other code handles signals: at its start, and after everything else.

In: SIGTERM, SIGINT and SIGHUP. Out: the callbacks of `at_end` run, the last log lines are written, and the process ends
with its exit code, whatever its threads do. It knows neither requests nor workers.
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
# Parts of the time to end after a signal: the last seconds are for the end itself when everything else is cut off; a
# little later the system kills the process, whose exit code then says so.
LEAST_SECONDS, LAST_SECONDS, LATE_SECONDS = 0.5, 0.3, 0.2
END_SECONDS = 2.0  # for the callbacks of `at_end`; then the system kills the process

at_end = contextlib.ExitStack()  # callbacks that run before this process ends
BLOCKED = TERMINATING | {signal.SIGHUP}


def install(*, unfinished: bool = False) -> None:
    """End this process at once on SIGTERM and SIGINT, and ignore SIGHUP, from now on.

    The exit code is 0; for work that is then `unfinished`, it is 128 and the signal's number, as shells have it.
    """
    for number in TERMINATING:
        signal.signal(number, lambda number, _: end(128 + number if unfinished else 0))
    signal.signal(signal.SIGHUP, ignore)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # in case this process has inherited another handler


def forget() -> None:
    """Forget the parent's handlers and callbacks, in a process that was forked. Signals that are blocked stay so."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    at_end.pop_all()


def ignore(*_: object) -> None:
    """Do nothing. Unlike SIG_IGN, child programs do not inherit this handler."""


def end(code: int) -> NoReturn:
    """End this process, even if a thread hangs or nobody reads its output."""
    if threading.current_thread() is threading.main_thread():
        for number in BLOCKED:
            signal.signal(number, ignore)
    kill_within(END_SECONDS)
    at_end.close()
    os._exit(code)


def kill_within(seconds: float) -> None:
    """Have the system kill this process after `seconds` at most, even where no Python code can run any more."""
    before, _ = signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, before or seconds))


@contextlib.contextmanager
def blocking() -> Iterator[None]:
    """Delay signals until the context closes; a program started in it starts with signals blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def on_hangup(loop: asyncio.AbstractEventLoop, action: Callable[[], object]) -> Iterator[None]:
    """Call `action` in the loop on SIGHUP while the context is open, and ignore SIGHUP afterwards."""
    signal.signal(signal.SIGHUP, lambda *_: loop.call_soon_threadsafe(action))
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, ignore)
