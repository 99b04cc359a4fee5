"""Log lines are queued without waiting, on every Python."""

from __future__ import annotations

import logging
import os
import select
import threading

from service.observability.logs import Lines


def test_a_line_waits_for_no_lock() -> None:
    """A signal handler may log while the code that it interrupts does; Python 3.13 takes a handler's lock itself."""
    end, beginning = os.pipe()
    lines = Lines(beginning)
    holding, over = threading.Event(), threading.Event()

    def hold() -> None:
        assert lines.lock is not None
        with lines.lock:
            holding.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        holding.wait()
        logged = threading.Thread(
            target=lines.handle, args=[logging.LogRecord("service", logging.INFO, "", 0, "written", None, None)]
        )
        logged.start()
        assert select.select([end], [], [], 60)[0]
        assert b'"message":"written"' in os.read(end, 4096)
    finally:
        over.set()
        thread.join()
