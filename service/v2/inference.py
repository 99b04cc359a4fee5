"""Inference in the words of the Open Inference Protocol, version 2, whether it comes by REST or by gRPC.

In: a request in one of the two forms. Out: what that form encodes of the probabilities. What tensors look like is
`service.codec.v2_json`'s and `service.codec.v2_grpc`'s.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ..codec import compression, v2_json
from ..errors import ServiceError
from ..inference.engine import Prepared
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
MAX_LENGTH_HEADER = 40  # characters, of which a length has twenty at most
HEADER_LENGTH = v2_json.HEADER_LENGTH.lower().encode()
T = TypeVar("T")


@dataclass(frozen=True)
class Form(Generic[T]):
    """How requests of one form are read, and their answers are written."""

    parse: Callable[[Headers, bytes], v2_json.Request | None]  # what is small and plain; None for the rest
    job: str  # of a reader
    about: Callable[[Headers], dict[str, str | None]]  # what the reader is told beside the body
    encode: Callable[[dict[str, str], v2_json.Request, Probabilities], T]


class Inference(Generic[T]):
    """The route of inferences, for every driver; a version that is `named` answers itself, else the canary may."""

    def __init__(self, engine: Engine, form: Form[T], classifier: Callable[[], Classifier], *, named: bool) -> None:
        self._engine = engine
        self._form = form
        self._classifier = classifier
        self._named = named

    def prepare(self, headers: Headers, body: bytes) -> Prepared | None:
        """Prepare a tensor of pixels; encoded pictures are left to a reader."""
        classifier = self._classifier()
        request = self._form.parse(headers, body)
        if request is None or request.pixels is None:
            return None
        return self._prepared(classifier, headers, request, request.pixels.tobytes())

    async def prepare_large(self, headers: Headers, body: Spool) -> Prepared:
        """Have a reader read the tensor, and prepare its pictures."""
        classifier = self._classifier()
        reading = await self._engine.readers.read(body, self._form.job, **self._form.about(headers))
        request = v2_json.Request(reading.end["identity"], None, [], v2_json.OutputFormat(**reading.end["wanted"]))
        pixels = reading.pixels
        if not pixels:
            images = _images(reading.items)
            self._engine.count_images(images)
            pixels = b"".join([image.rows for image in images])
        return self._prepared(classifier, headers, request, pixels)

    def respond(self, prepared: Prepared, classifier: Classifier, results: Results) -> T:
        """Encode the probabilities as the request wants them."""
        started = time.perf_counter()
        self._engine.count_results(results)
        encoded = self._form.encode(classifier.identity, prepared.request, results.probabilities)
        self._engine.time_encoding(started)
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
    """Make the form of REST."""

    def parse(headers: Headers, body: bytes) -> v2_json.Request | None:
        if encoding(headers) not in compression.NONE:  # a few compressed bytes may be many
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
    """Return the name of the body's Content-Encoding; raises `UnknownMediaType` for one that is not read here."""
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
