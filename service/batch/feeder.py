"""The process that reads the inputs: strangers' archives, Parquet files and what stores send.

    python -m service.batch.feeder SOCKET PARENT

In: an order on its socket, then a request for each block. Out: blocks: a header with the names, and a descriptor of
memory that holds the pictures' bytes; at last the number of files that were passed over, or why it cannot go on. The
system limits its memory. It decodes no picture. Unlike a reader it has the whole environment, because credentials of
buckets are there.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..codec.body import Numbers
from ..errors import NotAPicture, ServiceError, SettingsError, TooLarge
from ..quoting import printable, quoted
from ..reader.wire import Decoder, Message
from ..system import confinement, memory
from .children import MAX_ORDER_BYTES, hear, receive_order, tell
from .entries import DAMAGE, OUTAGES, Content, Entry, InputError, Reading
from .inputs import count, entries
from .parts import read_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEMORY = 3 * 2**30  # bytes: the names of ten million files in one folder take some of it
# Of a block: as many as one run of the model takes well, and no more bytes than a worker's share of memory.
BLOCK_ITEMS, BLOCK_BYTES = 128, 2 * 2**20
AHEAD, AHEAD_BYTES = 64, 64 * 2**20  # files of a store that are read at once
MAX_SENTENCE = 500  # characters
THREAD_BYTES = 2**19  # of a thread's stack


class Block(NamedTuple):
    """Pictures with their names, read and not decoded."""

    names: list[str]
    contents: list[Content]


def main(arguments: list[str]) -> int:
    """Read inputs until the parent has ended; return the exit code."""
    descriptor, parent = map(int, arguments)
    confinement.end_with(parent)
    threading.stack_size(THREAD_BYTES)
    confinement.limit_memory(MEMORY)
    with socket.socket(fileno=descriptor) as connection:
        requests = _Requests(connection)
        if requests.order is not None and (last := _feed(connection, requests)) is not None and requests.wait():
            tell(connection, last)
    return 0


class _Requests:
    """What the parent asks for: first all that is to be read, and with it the first block; then each further block."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._decoder = connection, Decoder(MAX_ORDER_BYTES)
        self.order = receive_order(connection, self._decoder)
        self.total: int | None = None  # pictures in all inputs, once they are counted
        self._waiting = False

    def count(self) -> None:
        """Count the pictures; a failure is one of their reading, too."""
        assert self.order is not None
        with contextlib.suppress(Exception):
            self.total = count(self.order["paths"])

    def wait(self) -> bool:
        """Wait until a block is asked for; False where the parent has ended."""
        if self._waiting and hear(self._connection, self._decoder) is None:
            return False
        self._waiting = True
        return True


def _feed(connection: socket.socket, requests: _Requests) -> Message | None:
    """Send a block for each request; return the last message, or None where the parent has ended."""
    order = requests.order
    assert order is not None
    os.chdir(order["folder"])  # inputs may be relative to where the batch was started
    counter = threading.Thread(target=requests.count, daemon=True)
    counter.start()
    reading = Reading(order["max_bytes"], order["column"], order["name_column"])
    try:
        found = entries(order["paths"], reading)
        _pass_done(found, order["parts"])
        for block in _blocks(_contents(found)):
            if not requests.wait():
                return None
            _send(connection, block, requests.total)
    except (SettingsError, InputError) as error:
        return Message({"failed": _plain(str(error)), "bad_setting": isinstance(error, SettingsError)})
    except MemoryError:
        return Message({"failed": f"the inputs take more than {MEMORY >> 20} MiB to list", "bad_setting": False})
    return Message({"end": True, "passed_over": reading.passed_over})


def _plain(text: str) -> str:
    """Return one line, cut, for a terminal: names may be strangers'."""
    return printable(text[:MAX_SENTENCE])


def _pass_done(found: Iterator[Entry], parts: list[str]) -> None:
    """Pass the entries that are rows of the parts; raises `SettingsError` where others are there now."""
    for part in parts:
        for name in read_names(Path(part)):
            entry = next(found, None)
            if entry is None or entry.name != name:
                there = "nothing" if entry is None else quoted(entry.name)
                raise SettingsError(
                    f"{part}: the inputs have changed since: expected {quoted(name)}, found {there}; "
                    "choose another folder for --out"
                )


def _contents(found: Iterator[Entry]) -> Iterator[tuple[str, Content]]:
    """Yield each picture's name and bytes, in order; files of a store are read some at a time."""
    ahead: deque[tuple[Entry, Future[Content]]] = deque()
    with ThreadPoolExecutor(AHEAD) as pool:
        for entry in found:
            if entry.remote:
                ahead.append((entry, pool.submit(_read, entry)))
            wanted = (AHEAD - 1, AHEAD_BYTES) if entry.remote else (0, 0)
            while len(ahead) > wanted[0] or sum(each.size for each, _ in ahead) > wanted[1]:
                first, future = ahead.popleft()
                yield first.name, future.result()
            if not entry.remote:
                yield entry.name, _read(entry)
        for first, future in ahead:
            yield first.name, future.result()


def _read(entry: Entry) -> Content:
    """Return a picture's bytes, or the error of its row; raises `InputError`."""
    try:
        return entry.read()
    except MemoryError:
        return TooLarge("The picture takes more memory to read than there is for it.")
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in OUTAGES:
            raise InputError(f"{entry.name}: {error.strerror}") from error
        return NotAPicture("The picture is damaged in its archive, or cut off.")


def _blocks(contents: Iterable[tuple[str, Content]]) -> Iterator[Block]:
    block, size = Block([], []), 0
    for name, content in contents:
        block.names.append(name)
        block.contents.append(content)
        size += len(_bytes(content))
        if len(block.names) == BLOCK_ITEMS or size >= BLOCK_BYTES:
            yield block
            block, size = Block([], []), 0
    if block.names:
        yield block


def _bytes(content: Content) -> bytes:
    if isinstance(content, Numbers):
        return content.rows
    return b"" if isinstance(content, ServiceError) else content


def _send(connection: socket.socket, block: Block, total: int | None) -> None:
    """Send a block: its bytes as a descriptor, so that the parent hands them on without a copy."""
    found = list(enumerate(block.contents))
    header = {
        "names": block.names,
        "sizes": [len(_bytes(content)) for content in block.contents],
        "numbers": [at for at, content in found if isinstance(content, Numbers)],
        "total": total,
        "errors": [[at, error.detail, error.reason] for at, error in found if isinstance(error, ServiceError)],
    }
    descriptor = memory.anonymous_file("block")
    try:
        view = memoryview(b"".join(map(_bytes, block.contents)))
        while view:
            view = view[os.write(descriptor, view) :]
        tell(connection, Message(header), descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
