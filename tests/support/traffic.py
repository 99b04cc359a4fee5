"""Load with a recorder: every request that is sent gets exactly one answer, the offline one of the version it names.

In: a service's address and what each version answers offline. Out: how many answers each version gave, and whatever was
lost or wrong. Some clients keep their connection, others make a new one for each request. It knows HTTP, and nothing of
how the service is disturbed meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from service.model.classifier import Classifier
from tests.support.service import MODELS, VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from service.arrays import Pixels, Probabilities

ROUTES = ("/predict", "/v2/models/mnist-mlp/infer")
SECONDS = 30  # that an answer may take, however busy the machine is


@dataclass(frozen=True)
class Expected:
    """Images uint8[N,28,28], and what each version says of them offline; any two versions differ on every one."""

    images: Pixels
    answers: dict[str, Probabilities]

    @classmethod
    def of(cls, images: Pixels, *, models: Path = MODELS, versions: tuple[str, ...] = ("1", "2", VERSION)) -> Self:
        """The images on which these versions can be told apart."""
        answers = {version: Classifier.load(models, version).predict(images[:, None]) for version in versions}
        pairs = itertools.combinations(answers.values(), 2)
        apart = np.all([np.abs(one - other).max(axis=1) > 1e-3 for one, other in pairs], axis=0)
        return cls(images[apart], {version: found[apart] for version, found in answers.items()})


class InThread:
    """Clients in an event loop of a thread of their own, from where the context is entered to where it is left."""

    _stopped = False

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the clients finish what they have begun."""
        self._stopped = True
        self._thread.join()

    async def _run(self) -> None:
        raise NotImplementedError


@dataclass
class Traffic(InThread):
    """Clients that ask until they are stopped, or until nobody listens any more."""

    url: str
    expected: Expected
    keeping: int = 8  # clients that keep their connection
    fresh: int = 4  # clients that make one for each request
    answered: Counter[str] = field(default_factory=Counter)  # by version
    failures: list[str] = field(default_factory=list)
    refused: int = 0  # connections
    slowest: float = 0.0  # seconds that an answer took
    latest: dict[str, float] = field(default_factory=dict)  # when each version last answered, seconds, monotonic

    def wait_until_refused(self) -> None:
        """Wait until nobody listens any more."""
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(self.keeping + self.fresh)))

    async def _client(self, number: int) -> None:
        connection: _Connection | None = None
        index = number
        while not self._stopped:
            index = (index + self.keeping + self.fresh) % len(self.expected.images)
            try:
                connection = connection or await _Connection.to(self.url)
            except OSError:
                self.refused += 1
                return
            sent, began = self.expected.images[index], time.monotonic()
            try:
                async with asyncio.timeout(SECONDS):
                    answer, closes = await connection.ask(ROUTES[index % 2], sent.tobytes())
                self._judge(index, *answer)
                self.slowest = max(self.slowest, time.monotonic() - began)
            except (OSError, EOFError, TimeoutError, ValueError, KeyError) as error:
                self.failures.append(f"client {number}: {error!r} after {connection.asked - 1} on its connection")
                closes = True
            if closes or number >= self.keeping:
                await connection.close()
                connection = None
        if connection is not None:
            await connection.close()

    def _judge(self, index: int, version: str, probabilities: Probabilities) -> None:
        if np.abs(probabilities - self.expected.answers[version][index]).max() < 1e-5:
            self.answered[version] += 1
            self.latest[version] = time.monotonic()
        else:
            self.failures.append(f"image {index}: not the answer of version {version}, which it names")


class _Connection:
    """One connection, as a client sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.asked = 0

    @classmethod
    async def to(cls, url: str) -> _Connection:
        host, port = url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, route: str, pixels: bytes) -> tuple[tuple[str, Probabilities], bool]:
        """Version and probabilities; and whether the service closes the connection."""
        self.asked += 1
        length = f"Content-Length: {len(pixels)}\r\nInference-Header-Content-Length: 0\r\n"
        head = f"POST {route} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n{length}\r\n"
        self._writer.write(head.encode() + pixels)
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = await self._reader.readexactly(int(headers["content-length"]))
        if " 200 " not in status:
            raise ValueError(f"{status}: {body.decode()}")
        return _read(body, headers), headers.get("connection") == "close"

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def _read(body: bytes, headers: dict[str, str]) -> tuple[str, Probabilities]:
    size = int(headers.get("inference-header-content-length", len(body)))
    answer: dict[str, Any] = json.loads(body[:size])
    if "model_version" in answer:
        return answer["model_version"], np.frombuffer(body[size:], np.float32)
    return answer["model"]["version"], np.array(answer["predictions"][0]["probabilities"], np.float32)
