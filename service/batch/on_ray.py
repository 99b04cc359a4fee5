"""The engine of a batch on a Ray cluster: the same feeder on this node, and the same workers on all nodes.

In: inputs and settings. Out: rows in the parts, as `service.batch.engine` makes them. Ray Data moves blocks from the
feeder to workers, and rows back, in order; it starts lost workers again, and its queues are bounded. Ray's processes
neither read an input nor decode a picture: a task and actors of Ray each start a child that does.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
import pyarrow as pa

from ..errors import ModelError, SettingsError
from ..quoting import quoted
from ..reader.wire import Message
from ..system import memory
from .children import FEEDER, WORKER, Child, decode_order, encode_order
from .engine import LOSSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model.artefact import Files
    from ..settings import Settings
    from .engine import Inputs
    from .parts import Parts
    from .progress import Progress
    from .stopping import Stopping

MOVED_BYTES = 2**20  # that Ray Data gathers before it moves them: small blocks travel together
# What has ended a batch is a message too: Ray would print a raised error three times, with its own code.
SETTING, MODEL, SYSTEM = "setting", "model", "system"
ERRORS: dict[str, type[Exception]] = {SETTING: SettingsError, MODEL: ModelError, SYSTEM: OSError}


class RayEngine:
    """A context manager with a connection to a cluster: to that of RAY_ADDRESS, or to one on this machine."""

    def __init__(self, settings: Settings, files: Files, inputs: Inputs, parts: Parts) -> None:
        """`files` are those of the version, which have been checked; raises `SettingsError` where there is no Ray."""
        self.passed_over = 0  # files that are no picture by their name
        self._settings, self._parts = settings, parts
        self._feed = inputs._asdict() | {
            "folder": str(Path.cwd()),
            "max_bytes": settings.max_body_bytes,
            "parts": [str(path.absolute()) for path in parts.paths],
        }
        chosen = settings.model_copy(update={"model_dir": settings.model_dir.absolute()})
        self._work = {"settings": chosen.model_dump(mode="json"), "version": files.folder.name}
        self._digest = files.digest.hex()
        try:
            import ray.data  # noqa: PLC0415 - no extra of ours: it is large, and people have it where it is needed
        except ImportError:
            raise SettingsError("--ray needs Ray Data: pip install 'ray[data]'") from None
        self._ray = ray

    def __enter__(self) -> Self:
        """Connect; raises `OSError` where no cluster answers."""
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            self._ray.init(log_to_driver=False, logging_level=logging.WARNING)
        except ConnectionError as error:
            raise OSError(f"no Ray cluster answers: {error}") from None
        context = self._ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.target_max_block_size = MOVED_BYTES
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def run(self, progress: Progress, stopping: Stopping) -> None:
        """Predict until all inputs are read, or the batch is stopped, and write what is done.

        Raises `SettingsError` for bad inputs, `ModelError`, and `OSError` for all that ends the batch before its end.
        """
        ray = self._ray
        here = ray.get_runtime_context().get_node_id()
        blocks = ray.data.from_items([encode_order(self._feed)]).map_batches(
            feed, batch_format="pyarrow", num_cpus=0, label_selector={"ray.io/node-id": here}
        )
        rows = blocks.map_batches(
            Worker,
            fn_constructor_args=(self._work, self._digest),
            compute=ray.data.ActorPoolStrategy(size=self._workers()),
            batch_format="pyarrow",
            batch_size=1,
            num_cpus=1,
        )
        try:
            for table in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
                for message in _messages(table):
                    self._hear(message, progress)
                progress.show()
                if stopping.stopped:
                    break
        except ray.exceptions.RayError as error:
            raise OSError(f"the Ray cluster does not go on: {str(error).splitlines()[0]}") from None
        finally:
            self._parts.flush()

    def _workers(self) -> int:
        """Return the workers that a setting asks for, or else one for each free core of the cluster."""
        if "workers" in self._settings.model_fields_set:
            return self._settings.workers
        return max(1, int(self._ray.available_resources().get("CPU", 1)))

    def _hear(self, message: Message, progress: Progress) -> None:
        if "failed" in message.header:
            raise ERRORS[message.header["kind"]](message.header["failed"])
        if "end" in message.header:
            self.passed_over = message.header["passed_over"]
            return
        progress.total = message.header["total"]
        rows = pa.ipc.open_stream(message.payload).read_all()
        progress.add(rows)
        self._parts.add(rows)


def feed(order: pa.Table) -> Iterator[pa.Table]:
    """Yield the feeder's blocks as messages, and its last one."""
    feeder = Child(FEEDER, decode_order(order["item"][0].as_py()))
    last = ""
    while (heard := feeder.hear()) is not None:
        message, descriptor = heard
        header = message.header
        if "failed" in header:
            yield _failed(header["failed"], SETTING if header["bad_setting"] else SYSTEM)
            feeder.end()
            return
        if descriptor is not None:
            message = Message(header, os.pread(descriptor, sum(header["sizes"]), 0))
            os.close(descriptor)
            last = f", behind {quoted(header['names'][-1])}"
        yield _table(message)
        if "end" in header:
            feeder.end()
            return
        feeder.tell(Message({}))
    how = f"the process that reads the inputs has ended with {feeder.end()}{last}: an input may be hostile"
    yield _failed(how, SYSTEM)


class Worker:
    """A worker process, which an actor of Ray keeps: blocks in, rows out."""

    def __init__(self, order: dict[str, Any], digest: str) -> None:
        self._order, self._digest = order, digest
        self._child: Child | None = None

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the rows of a block; other messages pass."""
        (message,) = _messages(block)
        if "names" not in message.header:
            return block
        with os.fdopen(memory.anonymous_file("block"), "wb", buffering=0) as file:
            file.write(message.payload)
            for _ in range(LOSSES):
                try:
                    child = self._started()
                except ModelError as error:
                    return _failed(str(error), MODEL)
                child.tell(Message(message.header), file.fileno())
                if (heard := child.hear()) is not None:
                    return _table(Message({"total": message.header["total"]}, heard[0].payload))
                self._child, how = None, child.end()
        return _failed(f"a worker has ended with {how}, {LOSSES} times; is there too little memory?", SYSTEM)

    def _started(self) -> Child:
        """Return the worker process; raises `ModelError`."""
        if self._child is None:
            child = Child(WORKER, self._order)
            heard = child.hear()
            found = {} if heard is None else heard[0].header
            if found.get("ready") != self._digest:
                child.kill()
                raise ModelError(found.get("failed", f"version {self._order['version']} has other files on a node"))
            self._child = child
        return self._child


def _failed(sentence: str, kind: str) -> pa.Table:
    return _table(Message({"failed": sentence, "kind": kind}))


def _table(message: Message) -> pa.Table:
    """Return a message as Ray moves it."""
    return pa.table({"header": [orjson.dumps(message.header)], "payload": [message.payload]})


def _messages(table: pa.Table) -> Iterator[Message]:
    for row in table.to_pylist():
        yield Message(orjson.loads(row["header"]), row["payload"])
