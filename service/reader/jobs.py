"""A reader's work: find the pictures in a body, and prepare each one's pixels for the network.

In: a job's header and its body. Out: a message for each prepared picture, and one that ends the job or its turn. The
parsing of a body and each picture have a limit of CPU time; the system ends a process that takes more. It knows the
formats of bodies, but not who asks.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..codec import body, v2_json
from ..codec.body import Numbers
from ..codec.compression import decompress
from ..errors import NotAPicture, ServiceError, TooLarge
from ..picture import prepare as image
from ..picture.opened import Expensive
from .results import describe_error, describe_item
from .wire import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..codec.body import Picture
    from ..codec.v2_json import Request
    from ..picture.prepare import PreparedImage

BESIDE = 16 * 2**20  # bytes of a job in addition to its picture: bands of it, and Python
UNPACKED = 4 * 2**20  # bytes: 64 digits as JSON have some 200,000
TURN_SECONDS = 0.05  # of CPU time, after which other jobs have their turn


class Limits(NamedTuple):
    """A reader's limits: bytes beyond those of an idle reader, and seconds of CPU time for each step."""

    max_body_bytes: int
    max_pixels: int
    max_images: int
    formats: tuple[str, ...]  # that are read
    memory_bytes: int
    seconds: float
    large: bool  # whether expensive jobs are read here, and not passed on

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of the largest body, unpacked."""
        return self.max_body_bytes if self.large else min(self.max_body_bytes, UNPACKED)

    @property
    def room(self) -> int:
        """Bytes for a large picture while it is decoded."""
        return self.memory_bytes - BESIDE if self.large else 0


class _Parsed(NamedTuple):
    pictures: Sequence[Picture]
    end: dict[str, Any]  # members of the message that ends the job
    pixels: bytes = b""  # n·784, where the body holds the network's input itself


class Jobs:
    """Does jobs; keeps the last parsed body, whose job returns until all of its pictures are prepared."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parsed: tuple[int, _Parsed] | None = None

    def run(self, header: dict[str, Any], data: bytes) -> Iterator[Message]:
        """Yield the messages of one turn of a job; bugs are raised."""
        try:
            with _within(self._limits.seconds):
                parsed = self._parse(header, data)
        except ServiceError as error:
            yield Message({"refusal": describe_error(error)})
        except (MemoryError, Expensive):
            yield self.pass_on(0, "The body")
        else:
            if self._limits.large:
                yield Message({"parsed": len(parsed.pictures)})
            yield from self._turn(parsed, int(header["first"]))

    def forget(self) -> None:
        """Drop the parsed body."""
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
                    yield self.pass_on(number, "")
                    return
                message = describe_item(too_much("The picture", self._limits))
            yield message
        self.forget()
        yield Message({"end": parsed.end}, parsed.pixels)

    def pass_on(self, number: int, what: str) -> Message:
        """Pass a job on to a large reader, from this picture on; a large reader refuses it."""
        self.forget()
        if self._limits.large:
            return Message({"refusal": describe_error(too_much(what, self._limits))})
        return Message({"next": number, "large": True})

    def _prepare(self, picture: Picture) -> PreparedImage | ServiceError:
        if isinstance(picture, ServiceError):
            return picture
        limits = self._limits
        try:
            if isinstance(picture, Numbers):
                return image.prepare(np.frombuffer(picture.rows, np.uint8).reshape(28, 28))
            return image.read(picture, max_pixels=limits.max_pixels, room=limits.room, read=limits.formats)
        except ServiceError as error:
            return error


def too_much(what: str, limits: Limits) -> TooLarge:
    """Return the error for a picture or body that exceeds a reader's limits."""
    mebibytes = limits.memory_bytes >> 20
    return TooLarge(
        f"{what} takes more than {mebibytes} MiB or {limits.seconds:g} s to read, which is the limit. "
        "Send it smaller: 300 x 300 is plenty for a digit.",
        limit=limits.seconds,
    )


def lost(what: str) -> NotAPicture:
    """Return the error for a picture or body that ended each reader."""
    return NotAPicture(f"{what} cannot be read: it crashes the decoder.")


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Have the system end this process when it takes more CPU time; SIGPROF ends C code too."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _predict(header: dict[str, Any], data: bytes, limits: Limits) -> _Parsed:
    found = body.parse(header["content_type"], data, max_images=limits.max_images)
    return _Parsed(found.each(), {"several": found.several})


def _pictures(header: dict[str, Any], data: bytes, _: Limits) -> _Parsed:
    """Return pictures that follow each other in the body, of the header's `sizes`."""
    ends = list(itertools.accumulate(header["sizes"], initial=0))
    return _Parsed([data[start:end] for start, end in itertools.pairwise(ends)], {})


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
    """Pass bodies that unpack to too much on to the large reader, which may unpack more."""
    try:
        yield
    except TooLarge:
        if limits.large:
            raise
        raise Expensive from None


_PARSERS = {"predict": _predict, "pictures": _pictures, "infer": _infer, "grpc": _grpc}
