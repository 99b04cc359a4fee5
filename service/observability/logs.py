"""Write log lines to stderr: one queue for all lines, and a thread that writes them.

In: records of every logger, the access log included; warnings and faults that nobody handles; sentences for people.
Out: lines in one format, or the number of lines that were dropped because nobody reads stderr. Whoever logs never
waits, neither for stderr nor for a lock.

Without a format, the lines are JSON, or text at a terminal, and sentences for people are text. With one, all output has
it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import queue
import select
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from ..system import signals
from .log_format import FORMATTERS, JSON, TEXT

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from .log_format import LogFormat

MAX_LINES = 4096  # that wait to be written
WRITE_BYTES = select.PIPE_BUF  # a pipe with room has room for so many, and writes them as one
POLL_SECONDS = 1.0
DROPPED = "log lines were dropped: nobody read stderr, or it was full"

log = logging.getLogger("service")


class Lines(logging.Handler):
    """The queue of records, and the thread that writes them to a file descriptor."""

    def __init__(self, descriptor: int, log_format: LogFormat = JSON) -> None:
        super().__init__()
        self.dropped = 0
        self.on_dropped: Callable[[int], object] = lambda _: None  # is called with the number of newly dropped lines
        self._counted = self._logged = 0  # dropped lines that `on_dropped` and the log know of
        self._descriptor = descriptor
        self._queue: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._idle = True
        self.setFormatter(FORMATTERS[log_format]())
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit a record without a lock: the queue needs none, and a signal handler that logs must not wait."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it where too many wait."""
        if self._queue.qsize() >= MAX_LINES:
            self.dropped += 1
            return
        if record.exc_info:  # formatted now: the objects may change, and must not be kept alive
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        if record.args:
            record.msg, record.args = record.getMessage(), None
        self._queue.put(record)

    def flush_within(self, seconds: float) -> None:
        """Wait until everything is written, for `seconds` at most."""
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
            if self.dropped != self._logged:
                self._log_dropped()
            self._idle = self._queue.empty()

    def _write(self, record: logging.LogRecord) -> bool:
        try:
            data = self.format(record).encode() + b"\n"
            while data:
                self._wait_for_room()
                data = data[os.write(self._descriptor, data[:WRITE_BYTES]) :]
        except Exception:  # noqa: BLE001 - there is no other place to report it
            self.dropped += 1
            return False
        return True

    def _wait_for_room(self) -> None:
        while not writable(self._descriptor, POLL_SECONDS):
            self._count_dropped()

    def _log_dropped(self) -> None:
        dropped = self.dropped
        if self._write(_record(logging.WARNING, f"{dropped - self._logged} {DROPPED}")):
            self._logged = dropped

    def _count_dropped(self) -> None:
        dropped = self.dropped
        if dropped != self._counted:
            self.on_dropped(dropped - self._counted)
            self._counted = dropped


def start(level: str, log_format: LogFormat | None) -> None:
    """Write the lines of all loggers to stderr from now on; lines that wait are written when the process ends."""
    choose_format(log_format)
    try:
        lines = Lines(2, format_of_lines(log_format))
    except RuntimeError as error:  # raised by Python where the system has no more threads
        raise OSError(f"{error}") from None
    signals.at_end.callback(lines.flush_within, signals.LAST_SECONDS)
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(level.upper())
    logging.getLogger("service.access").setLevel(logging.INFO)  # it has a setting of its own
    logging.getLogger("uvicorn.error").addFilter(_is_new)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of each form that it cannot parse
    logging.captureWarnings(capture=True)
    threading.excepthook = lambda raised: _log_unhandled(raised.exc_value)
    sys.unraisablehook = lambda raised: _log_unhandled(raised.exc_value)


def format_of_lines(log_format: LogFormat | None) -> LogFormat:
    """Return the format of the log's lines for a setting."""
    return log_format or (TEXT if os.isatty(2) else JSON)


class _Output:
    """The output of this process: the format that its settings choose for all of it."""

    log_format: LogFormat | None = None


def choose_format(log_format: LogFormat | None) -> None:
    """Write sentences for people in this format from now on, and faults that end the process."""
    _Output.log_format = log_format
    sys.excepthook = _print_fault if log_format == JSON else sys.__excepthook__


def _print_fault(_: object, error: BaseException, __: object) -> None:
    record = _record(logging.CRITICAL, "the process ends by an error")
    record.exc_text = "".join(traceback.format_exception(error))
    _print(FORMATTERS[JSON]().format(record), sys.stderr)


def _log_unhandled(error: BaseException | None) -> None:
    if not isinstance(error, SystemExit):  # a thread may end itself so
        log.error("an error that nothing handles", exc_info=error)


def _is_new(record: logging.LogRecord) -> bool:
    """Return whether no line has told of a record's error; uvicorn tells of each again, without the request's id."""
    return not (record.exc_info and getattr(record.exc_info[1], "is_logged", False))


def count_dropped(count: Callable[[int], object]) -> None:
    """Call `count` with the number of newly dropped lines, also while nothing can be written."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Lines):
            handler.on_dropped = count


def print_for_people(text: str, stream: TextIO) -> None:
    """Print a text for people on stdout or stderr, or as a line of JSON where all output is, unless nobody reads it."""
    if _Output.log_format == JSON:
        level = logging.ERROR if stream is sys.stderr else logging.INFO
        text, stream = FORMATTERS[JSON]().format(_record(level, text)), sys.stderr
    _print(text, stream)


def _print(text: str, stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # the stream is closed or missing
        if _is_read(stream):
            print(f"{text}\n", end="", file=stream, flush=True)  # one write, so that no line of the log comes between


def _record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("service", level, "", 0, text, None, None)


def _is_read(stream: TextIO) -> bool:
    try:
        return writable(stream.fileno(), POLL_SECONDS)
    except io.UnsupportedOperation:  # it is not a file, and never blocks
        return True


def writable(descriptor: int, seconds: float) -> bool:
    """Return whether a write would wait no longer than this for its reader."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(seconds * 1e3))
