"""A worker of a batch: blocks of pictures in, rows out.

    python -m service.batch.worker SOCKET PARENT

In: settings and a version on its socket, then blocks as the feeder makes them. Out: a table of rows for each block, in
Arrow's stream format. Its reader processes decode what is not tiny. It has no environment but what Python needs.
"""

from __future__ import annotations

import os
import socket
import sys
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ..codec.body import Numbers
from ..errors import ModelError, ServiceError
from ..model import artefact
from ..model.classifier import Classifier
from ..reader.wire import Decoder, Message
from ..settings import Settings
from ..system import confinement
from .block import SCHEMA, Item, predict_block
from .children import MAX_ORDER_BYTES, hear, receive_order, tell
from .preparing import Preparing

if TYPE_CHECKING:
    from ..picture.prepare import PreparedImage


def main(arguments: list[str]) -> int:
    """Predict blocks until the parent has ended; return the exit code."""
    descriptor, parent = map(int, arguments)
    confinement.end_with(parent)
    with socket.socket(fileno=descriptor) as connection:
        decoder = Decoder(MAX_ORDER_BYTES)
        if (order := receive_order(connection, decoder)) is None:
            return 0
        settings = Settings.model_validate(order["settings"])
        try:
            files = artefact.read_files(settings.model_dir, order["version"])
            classifier = Classifier(artefact.parse(files))
        except ModelError as error:
            tell(connection, Message({"failed": str(error)}))
            return 0
        tell(connection, Message({"ready": files.digest.hex()}))
        with Preparing(settings) as preparing:
            while (received := hear(connection, decoder)) is not None:
                tell(connection, Message({}, _predict(classifier, preparing, received[0].header, received[1])))
    return 0


def _predict(classifier: Classifier, preparing: Preparing, header: dict[str, Any], descriptor: int | None) -> bytes:
    """Return the rows of a block."""
    assert descriptor is not None
    sizes: list[int] = header["sizes"]
    body = os.pread(descriptor, sum(sizes), 0)
    os.close(descriptor)
    pictures: list[bytes | Numbers] = [body[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]
    for at in header["numbers"]:
        pictures[at] = Numbers(pictures[at])
    errors: dict[int, ServiceError] = {
        at: ServiceError(detail, reason=reason) for at, detail, reason in header["errors"]
    }
    prepared = iter(preparing.prepare([each for at, each in enumerate(pictures) if at not in errors]))
    found: list[PreparedImage | ServiceError] = [errors.get(at) or next(prepared) for at in range(len(pictures))]
    rows = predict_block(classifier, [Item(*pair) for pair in zip(header["names"], found, strict=True)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as stream:
        stream.write_table(rows)
    return bytes(sink.getvalue())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
