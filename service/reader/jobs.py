"""A reader's work: a body to the pictures in it, and each picture to the pixels that the network reads.

In: a job's header and its body. Out: a message for each picture as soon as it is prepared, and one that ends the job,
or its turn. Each picture, and the parsing of the body, has so much CPU time; the system ends the process that takes
more. It knows the forms of bodies, and neither who asks nor what is done with the pixels.
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..codec import body, v2_json
from ..codec.body import Numbers
from ..codec.compression import decompress
from ..errors import NotAPicture, ServiceError, TooLarge
from ..picture import prepare as image
from ..picture.decode import Expensive
from .results import describe_error, describe_item
from .wire import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..codec.body import Picture
    from ..codec.v2_json import Request
    from ..picture.prepare import PreparedImage

BESIDE = 16 * 2**20  # bytes of a job beside its picture: bands of it, and Python
UNPACKED = 4 * 2**20  # bytes: 64 digits as JSON have some 200,000
TURN_SECONDS = 0.05  # of CPU time, after which other jobs have their turn


class Limits(NamedTuple):
    """What a reader may take; bytes beyond those of a reader without a job, and seconds of CPU time for each step."""

    max_body_bytes: int
    max_pixels: int
    max_images: int
    memory_bytes: int
    seconds: float
    large: bool  # what takes much is read here, and not left to another reader

    @property
    def unpacked_bytes(self) -> int:
        """Bytes that a compressed body may have, unpacked."""
        return self.max_body_bytes if self.large else min(self.max_body_bytes, UNPACKED)

    @property
    def room(self) -> int:
        """Bytes for a large picture while it is decoded."""
        return self.memory_bytes - BESIDE if self.large else 0


class _Parsed(NamedTuple):
    pictures: Sequence[Picture]
    end: dict[str, Any]  # members of the message that ends the job
    pixels: bytes = b""  # n·784, where the body held what the network reads


class Jobs:
    """Runs jobs; keeps the last one parsed, which comes again until all of its pictures are prepared."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parsed: tuple[int, _Parsed] | None = None

    def run(self, header: dict[str, Any], data: bytes) -> Iterator[Message]:
        """The messages of one turn of a job; a fault of ours is raised."""
        try:
            with _within(self._limits.seconds):
                parsed = self._parse(header, data)
        except ServiceError as error:
            yield Message({"refusal": describe_error(error)})
        except (MemoryError, Expensive):
            yield self.leave(0, "The body")
        else:
            if self._limits.large:
                yield Message({"parsed": len(parsed.pictures)})
            yield from self._turn(parsed, int(header["first"]))

    def forget(self) -> None:
        """Let go of the job that was kept."""
        self._parsed = None

    def _parse(self, header: dict[str, Any], data: bytes) -> _Parsed:
        job = int(header["job"])
        if self._parsed is None or self._parsed[0] != job:
            self._parsed = None
            self._parsed = job, _PARSERS[header["kind"]](header, data, self._limits)
        return self._parsed[1]

    def _turn(self, parsed: _Parsed, first: int) -> Iterator[Message]:
        began = time.process_time()
        for number in range(first, len(parsed.pictures)):
            if number > first and time.process_time() - began > TURN_SECONDS:
                yield Message({"next": number})
                return
            try:
                with _within(self._limits.seconds):
                    message = describe_item(self._prepare(parsed.pictures[number]))
            except (MemoryError, Expensive):
                if not self._limits.large:
                    yield self.leave(number, "")
                    return
                message = describe_item(too_much("The picture", self._limits))
            yield message
        self.forget()
        yield Message({"end": parsed.end}, parsed.pixels)

    def leave(self, number: int, what: str) -> Message:
        """A job, from this picture on, is for a reader that may take more; where there is none, it is refused."""
        self.forget()
        if self._limits.large:
            return Message({"refusal": describe_error(too_much(what, self._limits))})
        return Message({"next": number, "large": True})

    def _prepare(self, picture: Picture) -> PreparedImage | ServiceError:
        if isinstance(picture, ServiceError):
            return picture
        try:
            if isinstance(picture, Numbers):
                return image.prepare(np.frombuffer(picture.rows, np.uint8).reshape(28, 28))
            return image.read(picture, max_pixels=self._limits.max_pixels, room=self._limits.room)
        except ServiceError as error:
            return error


def too_much(what: str, limits: Limits) -> TooLarge:
    """Why something is refused that took more than a reader has."""
    mebibytes = limits.memory_bytes >> 20
    return TooLarge(
        f"{what} takes more than {mebibytes} MiB or {limits.seconds:g} s to read, which is the limit. "
        "Send it smaller: 300 x 300 is plenty for a digit.",
        limit=limits.seconds,
    )


def lost(what: str) -> NotAPicture:
    """Why something is refused that ended each process that read it."""
    return NotAPicture(f"{what} cannot be read: the process that read it ended, each time.")


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Have the system end this process when it takes more CPU time: SIGPROF stops code in C, too."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _predict(header: dict[str, Any], data: bytes, limits: Limits) -> _Parsed:
    found = body.parse(header["content_type"], data, max_images=limits.max_images)
    return _Parsed(found.items, {"several": found.several})


def _infer(header: dict[str, Any], data: bytes, limits: Limits) -> _Parsed:
    with _unpacking(limits):
        plain = decompress(data, header["encoding"], limit=limits.unpacked_bytes)
    return _of_request(v2_json.parse(plain, header["header_length"], max_images=limits.max_images))


def _of_request(request: Request) -> _Parsed:
    wanted = {"binary": request.wanted.binary, "classes": request.wanted.classes}
    pixels = b"" if request.pixels is None else request.pixels.tobytes()
    return _Parsed(request.pictures, {"identity": request.identity, "wanted": wanted}, pixels)


def _grpc(header: dict[str, Any], data: bytes, limits: Limits) -> _Parsed:
    from ..codec import v2_grpc  # noqa: PLC0415 - gRPC is an extra

    names = [header["model_name"], header["model_version"], header["id"]]
    most = {"max_images": limits.max_images, "max_bytes": limits.unpacked_bytes}
    with _unpacking(limits):
        return _of_request(v2_grpc.parse_bytes(data, names, **most))


@contextlib.contextmanager
def _unpacking(limits: Limits) -> Iterator[None]:
    """Leave what unpacks to too much to the large reader, which may unpack more."""
    try:
        yield
    except TooLarge:
        if limits.large:
            raise
        raise Expensive from None


_PARSERS = {"predict": _predict, "infer": _infer, "grpc": _grpc}
