"""Log lines on stderr: JSON, one queue for all of them, and a thread that writes it.

In: records of every logger, the access log's too. Out: lines, or a count of those that were dropped because nobody
reads stderr. Logging takes a place in the queue and never waits, neither for stderr nor for a lock. It knows no logger
but by its name.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import queue
import select
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from ..system import signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

MAX_LINES = 4096  # that wait to be written
MAX_LINE = 65_536  # characters of one line
WRITE = select.PIPE_BUF  # bytes: a pipe that takes any takes so many, and keeps lines of several processes apart
POLL_SECONDS = 1.0
DROPPED = "log lines were dropped: nobody read stderr, or it took no more"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what `extra={"fields": …}` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MAX_LINE],
            **getattr(record, "fields", {}),
        }
        if record.exc_text:
            line["exception"] = record.exc_text[-MAX_LINE:]
        return orjson.dumps(line, default=str).decode()


class Lines(logging.Handler):
    """The queue, and the thread that writes what is in it to a file descriptor."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.lock = None  # a queue needs none: whoever logs would wait for it, also in a signal handler
        self.dropped = 0
        self.on_dropped: Callable[[int], object] = lambda _: None  # hears how many were dropped since it heard last
        self._heard = self._told = 0  # of the dropped lines: by `on_dropped`, and in the log
        self._descriptor = descriptor
        self._queue: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._idle = True
        self.setFormatter(JsonFormatter())
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Let a record be written, or drop it where too many wait."""
        if self._queue.qsize() >= MAX_LINES:
            self.dropped += 1
            return
        if record.exc_info:  # what it refers to may change, and is not to be kept
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        if record.args:
            record.msg, record.args = record.getMessage(), None
        self._queue.put(record)

    def flush_within(self, seconds: float) -> None:
        """Wait until everything is written, but not for longer."""
        until = time.monotonic() + seconds
        while not (self._idle and self._queue.empty()) and time.monotonic() < until:
            time.sleep(0.002)

    def _run(self) -> None:
        while True:
            self._count_dropped()
            try:
                record = self._queue.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            self._idle = False
            self._write(record)
            if self.dropped != self._told:
                self._tell_dropped()
            self._idle = self._queue.empty()

    def _write(self, record: logging.LogRecord) -> bool:
        try:
            data = self.format(record).encode() + b"\n"
            while data:
                self._wait_for_room()
                data = data[os.write(self._descriptor, data[:WRITE]) :]
        except Exception:  # noqa: BLE001 - there is no other place to tell it
            self.dropped += 1
            return False
        return True

    def _wait_for_room(self) -> None:
        while not writable(self._descriptor, POLL_SECONDS):
            self._count_dropped()

    def _tell_dropped(self) -> None:
        told = self.dropped
        record = logging.LogRecord("service", logging.WARNING, "", 0, f"{told - self._told} {DROPPED}", None, None)
        if self._write(record):
            self._told = told

    def _count_dropped(self) -> None:
        heard = self.dropped
        if heard != self._heard:
            self.on_dropped(heard - self._heard)
            self._heard = heard


def start(level: str) -> Lines:
    """Write all loggers' lines of this level and above to stderr from now on; what waits is written at the end."""
    try:
        lines = Lines(2)
    except RuntimeError as error:  # Python's, where the system has no more threads
        raise OSError(f"{error}") from None
    signals.at_end.callback(lines.flush_within, signals.LAST_SECONDS)
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(level.upper())
    logging.getLogger("service.access").setLevel(logging.INFO)  # it is asked for by a setting of its own
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each form that it cannot read
    return lines


def count_dropped(count: Callable[[int], object]) -> None:
    """Let this count the lines that are dropped, also while nothing can be written."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Lines):
            handler.on_dropped = count


def say(text: str, stream: TextIO) -> None:
    """Tell people something on stdout or stderr, unless nobody reads it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, or there is none
        if _is_read(stream):
            print(text, file=stream, flush=True)


def _is_read(stream: TextIO) -> bool:
    try:
        return writable(stream.fileno(), POLL_SECONDS)
    except io.UnsupportedOperation:  # it is no file, and so nobody's to read
        return True


def writable(descriptor: int, seconds: float) -> bool:
    """Whether something can be written without waiting for longer than this for whoever reads it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1e3))
