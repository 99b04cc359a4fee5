"""The engine of a batch on one machine: a feeder, a worker for each core, and the parts in order.

In: inputs and settings. Out: rows in the parts, until all inputs are read or the batch is stopped. Queues are bounded,
so memory does not grow with the batch. A worker that dies is replaced, and its block predicted again. What is in the
parts stays, whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import selectors
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pyarrow as pa

from ..errors import ModelError, SettingsError
from ..quoting import quoted
from ..reader.wire import Message
from .children import FEEDER, WORKER, Child

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..model.artefact import Files
    from ..settings import Settings
    from .parts import Parts
    from .progress import Progress
    from .stopping import Stopping

WINDOW = 1000  # blocks between the oldest that is not in a part and the newest: others wait for a slow one
LOSSES = 3  # workers that die with the same block, or before their first
POLL_SECONDS = 0.5  # between two lines of progress at least


class Inputs(NamedTuple):
    """What to read, and how."""

    paths: Sequence[str]
    column: str | None  # of Parquet files
    name_column: str | None


@dataclass
class _Block:
    number: int
    header: dict[str, Any]
    descriptor: int
    losses: int = field(default=0)


class Engine:
    """A context manager with the processes of a batch."""

    def __init__(self, settings: Settings, files: Files, inputs: Inputs, parts: Parts) -> None:
        """`files` are those of the version, which have been checked."""
        self.passed_over = 0  # files that are no picture by their name
        self._settings, self._files = settings, files
        self._inputs, self._parts = inputs, parts
        self._feeder: Child | None = None
        self._asked = self._ended = False
        self._idle: deque[Child] = deque()
        self._starting: set[Child] = set()
        self._busy: dict[Child, _Block] = {}
        self._failed_starts = 0
        self._blocks: deque[_Block] = deque()
        self._read = self._written = 0  # blocks
        self._results: dict[int, pa.Table] = {}
        self._selector = selectors.DefaultSelector()
        self._last = ""  # name that the feeder sent last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._idle:
            worker.connection.close()  # it ends by itself, and its readers with it
        for child in (self._feeder, *self._starting, *self._busy):
            if child is not None:
                child.kill()
        for worker in self._idle:
            worker.end()
        for block in (*self._blocks, *self._busy.values()):
            os.close(block.descriptor)
        self._selector.close()

    def run(self, progress: Progress, stopping: Stopping) -> None:
        """Predict until all inputs are read, or the batch is stopped, and write what is done.

        Raises `SettingsError` for bad inputs, `ModelError`, and `OSError` for all that ends the batch before its end.
        """
        order = self._inputs._asdict() | {
            "folder": str(Path.cwd()),
            "max_bytes": self._settings.max_body_bytes,
            "parts": [str(path.absolute()) for path in self._parts.paths],
        }
        self._selector.register(stopping.woken, selectors.EVENT_READ)
        self._feeder = self._start(FEEDER, order)
        self._asked = True  # with its order
        try:
            while not (stopping.stopped or self._finished()):
                self._dispatch()
                for key, _ in self._selector.select(POLL_SECONDS):
                    if isinstance(key.data, Child):
                        self._hear(key.data, progress)
                progress.show()
        finally:
            self._parts.flush()

    @property
    def _workers(self) -> int:
        return len(self._busy) + len(self._idle) + len(self._starting)

    def _finished(self) -> bool:
        return self._ended and self._written == self._read

    def _dispatch(self) -> None:
        """Ask for a block, and give blocks to workers."""
        ahead = len(self._blocks) < self._settings.workers and self._read < self._written + WINDOW
        if ahead and self._feeder is not None and not self._asked:
            self._asked = True
            self._feeder.tell(Message({}))
        here = self._settings.model_copy(update={"model_dir": self._settings.model_dir.absolute()})
        order = {"settings": here.model_dump(mode="json"), "version": self._files.folder.name}
        while len(self._blocks) > len(self._idle) + len(self._starting) and self._workers < self._settings.workers:
            self._starting.add(self._start(WORKER, order))
        while self._blocks and self._idle:
            worker, block = self._idle.popleft(), self._blocks.popleft()
            self._busy[worker] = block
            worker.tell(Message(block.header), block.descriptor)

    def _start(self, module: str, order: dict[str, Any]) -> Child:
        child = Child(module, order)
        self._selector.register(child.connection, selectors.EVENT_READ, child)
        return child

    def _hear(self, child: Child, progress: Progress) -> None:
        heard = child.hear()
        if heard is None:
            self._lose(child)
        elif child is self._feeder:
            self._hear_feeder(*heard, progress)
        else:
            self._hear_worker(child, heard[0], progress)

    def _hear_feeder(self, message: Message, descriptor: int | None, progress: Progress) -> None:
        self._asked = False
        header = message.header
        if "failed" in header:
            raise SettingsError(header["failed"]) if header["bad_setting"] else OSError(header["failed"])
        if "end" in header:
            self._ended, self.passed_over = True, header["passed_over"]
            self._forget_feeder()
            return
        assert descriptor is not None
        self._last, progress.total = header["names"][-1], header["total"]
        self._blocks.append(_Block(self._read, header, descriptor))
        self._read += 1

    def _forget_feeder(self) -> str:
        """Return how the feeder has ended."""
        assert self._feeder is not None
        self._selector.unregister(self._feeder.connection)
        how, self._feeder = self._feeder.end(), None
        return how

    def _hear_worker(self, worker: Child, message: Message, progress: Progress) -> None:
        if "failed" in message.header:
            raise ModelError(message.header["failed"])
        if worker in self._starting:
            if message.header["ready"] != self._files.digest.hex():
                raise ModelError(f"{self._files.folder}: its files have changed since the batch began")
            self._starting.remove(worker)
            self._failed_starts = 0
        else:
            block = self._busy.pop(worker)
            os.close(block.descriptor)
            self._results[block.number] = pa.ipc.open_stream(message.payload).read_all()
            progress.add(self._results[block.number])
            self._write()
        self._idle.append(worker)

    def _write(self) -> None:
        while (rows := self._results.pop(self._written, None)) is not None:
            self._written += 1
            self._parts.add(rows)

    def _lose(self, child: Child) -> None:
        """Give the block of a worker that has ended to another one; raises `OSError` where that does not help."""
        if child is self._feeder:
            behind = f", behind {quoted(self._last)}" if self._last else ""
            how = self._forget_feeder()
            raise OSError(f"the process that reads the inputs has ended with {how}{behind}: an input may be hostile")
        self._selector.unregister(child.connection)
        how = child.end()
        with contextlib.suppress(ValueError):
            self._idle.remove(child)
        if child in self._starting:
            self._starting.remove(child)
            self._failed_starts += 1
        elif (block := self._busy.pop(child, None)) is not None:
            block.losses += 1
            self._blocks.appendleft(block)
        if self._failed_starts >= LOSSES or (self._blocks and self._blocks[0].losses >= LOSSES):
            raise OSError(f"a worker has ended with {how}, {LOSSES} times; is there too little memory?")
