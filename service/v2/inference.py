"""Inference with the Open Inference Protocol, version 2, over REST or gRPC.

In: a request over one of the two transports. Out: its encoded probabilities. `service.codec.v2_json` and
`service.codec.v2_grpc` read and write the tensors.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ..codec import compression, v2_json
from ..errors import ServiceError
from ..inference.engine import Prepared
from ..inference.results import NO_DIGIT_CONFIDENCE
from ..inference.router import Chosen
from ..reply import JSON, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..arrays import Probabilities
    from ..inference.engine import Engine, Headers
    from ..inference.results import Results
    from ..model.classifier import Classifier
    from ..picture.prepare import PreparedImage
    from ..system.spool import Spool

TEMPLATE = "/v2/models/{model}/infer"
MAX_LENGTH_HEADER = 40  # characters; a length has twenty at most
HEADER_LENGTH = v2_json.HEADER_LENGTH.lower().encode()
T = TypeVar("T")


@dataclass(frozen=True)
class Form(Generic[T]):
    """Parsing and encoding for one transport."""

    parse: Callable[[Headers, bytes], v2_json.Request | None]  # of a small body; None if it needs a reader
    job: str  # the reader's job for other bodies
    about: Callable[[Headers], dict[str, str | None]]  # arguments of that job
    encode: Callable[[dict[str, str], v2_json.Request, Probabilities], T]


class Inference(Generic[T]):
    """The route of inference, for every driver; if the request has `named` a version, the canary does not answer."""

    def __init__(self, engine: Engine, form: Form[T], classifier: Callable[[], Classifier], *, named: bool) -> None:
        self._engine = engine
        self._form = form
        self._classifier = classifier
        self._named = named

    def prepare(self, headers: Headers, body: bytes) -> Prepared | None:
        """Prepare a tensor of pixels; None for encoded pictures, which need a reader."""
        classifier = self._classifier()
        request = self._form.parse(headers, body)
        if request is None or request.pixels is None:
            return None
        return self._prepared(classifier, headers, request, request.pixels.tobytes())

    async def prepare_large(self, headers: Headers, body: Spool) -> Prepared:
        """Parse the tensor and prepare its pictures in a reader."""
        classifier = self._classifier()
        reading = await self._engine.readers.read(body, self._form.job, **self._form.about(headers))
        pixels, blank = reading.pixels, tuple[int, ...]()
        if not pixels:
            images = _images(reading.items)
            self._engine.count_images(images)
            pixels = b"".join([image.rows for image in images if image.has_ink])
            blank = tuple(at for at, image in enumerate(images) if not image.has_ink)
        wanted = v2_json.OutputFormat(**reading.end["wanted"])
        request = v2_json.Request(reading.end["identity"], None, [], wanted, blank)
        return self._prepared(classifier, headers, request, pixels)

    def respond(self, prepared: Prepared, classifier: Classifier, results: Results) -> T:
        """Encode the probabilities in the requested format."""
        started = time.perf_counter()
        self._engine.count_results(results)
        probabilities = _with_blanks(results.probabilities, prepared.request.blank)
        encoded = self._form.encode(classifier.identity, prepared.request, probabilities)
        self._engine.encoded(prepared, classifier, started)
        return encoded

    def _prepared(self, classifier: Classifier, headers: Headers, request: v2_json.Request, pixels: bytes) -> Prepared:
        chosen = Chosen(classifier, classifier, None)
        if not self._named:
            chosen = self._engine.router.choose(classifier, headers.items(), request.identity)
        return Prepared(chosen, pixels, request)


def _images(items: Iterable[PreparedImage | ServiceError]) -> list[PreparedImage]:
    """Return all pictures; raises the first error among them."""
    images = []
    for item in items:
        if isinstance(item, ServiceError):
            raise item
        images.append(item)
    return images


def rest_form(max_images: int) -> Form[Reply]:
    """Return parsing and encoding for REST."""

    def parse(headers: Headers, body: bytes) -> v2_json.Request | None:
        if encoding(headers) not in compression.NONE:  # a small compressed body may be large
            return None
        return v2_json.parse(body, _length(headers), max_images=max_images)

    def about(headers: Headers) -> dict[str, str | None]:
        length = _length(headers)
        return {
            "encoding": encoding(headers),
            "header_length": None if length is None else length[:MAX_LENGTH_HEADER],
        }

    return Form(parse, "infer", about, _encode)


def encoding(headers: Headers) -> str:
    """Return the body's Content-Encoding; raises `UnknownMediaType` for an unsupported one."""
    name = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
    if name not in compression.NONE:
        compression.check_encoding(name)
    return name


def _length(headers: Headers) -> str | None:
    length = headers.get(HEADER_LENGTH)
    return None if length is None else length.decode("latin-1")


def _encode(model: dict[str, str], request: v2_json.Request, probabilities: Probabilities) -> Reply:
    content, length = v2_json.encode(model, request, probabilities)
    if length is None:
        return Reply(content, JSON)
    binary = ((b"content-type", b"application/octet-stream"), (HEADER_LENGTH, b"%d" % length))
    return Reply(content, binary)


def _with_blanks(probabilities: Probabilities, blank: tuple[int, ...]) -> Probabilities:
    """Return the rows of all pictures: those without ink, at these places, are even."""
    if not blank:
        return probabilities
    every = np.full((len(probabilities) + len(blank), 10), NO_DIGIT_CONFIDENCE, np.float32)
    inked = np.ones(len(every), np.bool_)
    inked[list(blank)] = False
    every[inked] = probabilities
    return every
